import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { encodeWif, networks } from '@leyden/bitcoin'
import { pointFromSecret } from '@leyden/crypto'
import { startLedger, type RunningLedger } from './daemon.ts'

const { regtest } = networks
const [wifA, wifB] = [1, 2].map((n) => encodeWif(new Uint8Array(32).fill(n), regtest)) as [string, string]
const [keyA, keyB, keyC] = [1, 2, 3].map((n) => bytesToHex(pointFromSecret(new Uint8Array(32).fill(n)))) as [
  string,
  string,
  string,
]

let ledger: RunningLedger
let datadir: string

type Answer<T> = { readonly result: T; readonly error: { readonly code: number; readonly message: string } | null }
const ask = async <T>(method: string, ...params: readonly unknown[]): Promise<Answer<T>> => {
  const answer = await fetch(ledger.rpcUrl, {
    method: 'POST',
    headers: { authorization: `Basic ${btoa(readFileSync(ledger.cookieFile, 'utf8'))}` },
    body: JSON.stringify({ method, params }),
  })
  return (await answer.json()) as Answer<T>
}
const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask<T>(method, ...params)
  if (error !== null) throw new Error(`${error.code} ${error.message}`)
  return result
}

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-psbt-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0 })
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

/** Coins of each kind, mature. `public` says what they are, `secret` how they are spent. */
const KINDS = [
  [`pkh(${keyA})`, `pkh(${wifA})`],
  [`wpkh(${keyA})`, `wpkh(${wifA})`],
  [`sh(wpkh(${keyA}))`, `sh(wpkh(${wifA}))`],
  [`wsh(multi(2,${keyA},${keyB}))`, `wsh(multi(2,${wifA},${wifB}))`],
  [`sh(wsh(sortedmulti(1,${keyB},${keyA})))`, `sh(wsh(sortedmulti(1,${wifB},${wifA})))`],
  [`tr(${keyA.slice(2)},pk(${keyB.slice(2)}))`, `tr(${wifA},pk(${keyB.slice(2)}))`],
] as const

describe('partially signed transactions', () => {
  it('of every kind of script are made, filled in, analysed, signed by descriptors, finished and sent', async () => {
    const inputs: { txid: string; vout: number }[] = []
    for (const [open] of KINDS) {
      const [hash] = await call<string[]>('generatetodescriptor', 1, open)
      const { tx } = await call<{ tx: [string] }>('getblock', hash)
      inputs.push({ txid: tx[0], vout: 0 })
    }
    await call('generatetodescriptor', 100, `pkh(${keyC})`)
    const [{ descriptor }] = [await call<{ descriptor: string }>('getdescriptorinfo', `wpkh(${keyC})`)]
    const [address] = await call<[string]>('deriveaddresses', descriptor)
    const psbt = await call<string>('createpsbt', inputs, { [address]: 299.9999 })
    expect(await call('analyzepsbt', psbt)).toMatchObject({ next: 'updater', inputs: inputs.map(() => ({ has_utxo: false })) })

    const updated = await call<string>('utxoupdatepsbt', psbt, [...KINDS.map(([open]) => open), `wpkh(${keyC})`])
    const analysed = await call<{ fee: number; estimated_vsize: number }>('analyzepsbt', updated)
    expect(analysed).toMatchObject({
      next: 'signer',
      fee: 0.0001,
      inputs: inputs.map(() => ({ has_utxo: true, next: 'signer' })),
    })
    const shown = await call<{ inputs: Record<string, unknown>[]; outputs: Record<string, unknown>[] }>('decodepsbt', updated)
    expect(shown.inputs[3]).toMatchObject({
      witness_script: { type: 'multisig' },
      bip32_derivs: [{ pubkey: keyA }, { pubkey: keyB }],
    })
    expect(shown.inputs[5]).toMatchObject({ taproot_internal_key: keyA.slice(2), taproot_merkle_root: expect.any(String) })
    expect(shown.outputs[0]).toMatchObject({ bip32_derivs: [{ pubkey: keyC, path: 'm' }] })

    // One signer has the one key, another the other.
    const halves = await Promise.all(
      [wifA, wifB].map(async (wif, i) => {
        const half = KINDS.map(([open]) =>
          open.replaceAll(i === 0 ? keyA : keyB, wif).replaceAll(`tr(${keyA.slice(2)}`, `tr(${i === 0 ? wif : keyA.slice(2)}`),
        )
        return call<{ psbt: string; complete: boolean }>('descriptorprocesspsbt', updated, half, 'DEFAULT', true, false)
      }),
    )
    expect(halves.map(({ complete }) => complete)).toEqual([false, false])
    const combined = await call<string>(
      'combinepsbt',
      halves.map(({ psbt }) => psbt),
    )
    expect(await call('analyzepsbt', combined)).toMatchObject({ next: 'finalizer' })
    const { hex, complete } = await call<{ hex: string; complete: boolean }>('finalizepsbt', combined)
    expect(complete).toBe(true)
    expect(await call('testmempoolaccept', [hex], 0)).toMatchObject([{ allowed: true }])
    const { vsize } = await call<{ vsize: number }>('decoderawtransaction', hex)
    expect(Math.abs(vsize - analysed.estimated_vsize)).toBeLessThan(6)
  })

  it('are joined and converted, and refused in the words of bitcoind', async () => {
    const input = (n: string) => ({ txid: n.repeat(64), vout: 0 })
    const one = await call<string>('createpsbt', [input('1')], [{ data: '00' }], 5)
    const two = await call<string>('createpsbt', [input('2')], [{ data: '01' }], 3)
    const joined = await call<{ tx: { vin: unknown[]; vout: unknown[]; locktime: number } }>(
      'decodepsbt',
      await call('joinpsbts', [one, two]),
    )
    expect([joined.tx.vin.length, joined.tx.vout.length, joined.tx.locktime]).toEqual([2, 2, 3])
    expect((await ask('joinpsbts', [one])).error?.message).toBe('At least two PSBTs are required to join PSBTs.')
    expect((await ask('joinpsbts', [one, one])).error?.message).toBe(`Input ${'1'.repeat(64)}:0 exists in multiple PSBTs`)
    expect((await ask('combinepsbt', [one, two])).error).toEqual({
      code: -8,
      message: 'PSBTs not compatible (different transactions)',
    })
    expect((await ask('combinepsbt', [])).error?.message).toBe("Parameter 'txs' cannot be empty")
    expect((await ask('decodepsbt', '!')).error).toEqual({ code: -22, message: 'TX decode failed invalid base64' })
    const raw = await call<string>('createrawtransaction', [input('1')], [{ data: '00' }], 5)
    expect(await call('converttopsbt', raw)).toBe(one)
    const { hex } = await call<{ hex: string }>(
      'signrawtransactionwithkey',
      raw,
      [wifA],
      [{ ...input('1'), scriptPubKey: `5120${keyA.slice(2)}`, amount: 1 }],
    )
    expect((await ask('converttopsbt', hex)).error?.message).toBe('Inputs must not have scriptSigs and scriptWitnesses')
    expect(await call('converttopsbt', hex, true)).toBe(one)
  })
})

describe('createmultisig', () => {
  it('makes the address, the script and the descriptor', async () => {
    const made = await call<{ address: string; redeemScript: string; descriptor: string }>(
      'createmultisig',
      2,
      [keyA, keyB],
      'bech32',
    )
    expect(made.redeemScript).toBe(`5221${keyA}21${keyB}52ae`)
    expect(await call('deriveaddresses', made.descriptor)).toEqual([made.address])
    expect((await ask('createmultisig', 3, [keyA, keyB])).error?.message).toBe(
      'not enough keys supplied (got 2 keys, but need at least 3 to redeem)',
    )
    expect((await ask('createmultisig', 1, ['00'])).error?.message).toBe(
      'Pubkey "00" must have a length of either 33 or 65 bytes',
    )
  })
})
