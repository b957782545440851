import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  decodeTx,
  encodeAddress,
  encodeTx,
  encodeWif,
  multisigScript,
  networks,
  outpointKey,
  p2pkhOf,
  p2shOf,
  p2tr,
  p2wpkhOf,
  p2wshOf,
  Sat,
  txid,
  type Tx,
} from '@leyden/bitcoin'
import { pointFromSecret, taprootTweakPoint, xOnlyFromPoint, pointUncompress } from '@leyden/crypto'
import { startLedger, type RunningLedger } from './daemon.ts'
import { ANYONE, outputOf, pay } from './testing.ts'

const { regtest } = networks
const ADDRESS = encodeAddress(ANYONE, regtest) as string
const secrets = [1, 2, 3].map((n) => new Uint8Array(32).fill(n))
const points = secrets.map((secret) => pointFromSecret(secret))
const [point] = points as [Uint8Array]
const wifs = secrets.map((secret) => encodeWif(secret, regtest))
const multisig = multisigScript(2, points)

let ledger: RunningLedger
let datadir: string

type Answer = { readonly result: unknown; readonly error: { readonly code: number; readonly message: string } | null }
const text = async (method: string, params: unknown): Promise<string> => {
  const answer = await fetch(ledger.rpcUrl, {
    method: 'POST',
    body: JSON.stringify({ method, params, id: 1 }),
    headers: { authorization: `Basic ${btoa(readFileSync(ledger.cookieFile, 'utf8'))}` },
  })
  return answer.text()
}
const ask = async (method: string, params: unknown): Promise<Answer> => JSON.parse(await text(method, params)) as Answer
const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask(method, params)
  if (error !== null) throw new Error(`${error.code} ${error.message}`)
  return result as T
}
const errorOf = async (method: string, ...params: readonly unknown[]): Promise<Answer['error']> =>
  (await ask(method, params)).error

type Signed = { readonly hex: string; readonly complete: boolean; readonly errors?: readonly { readonly error: string }[] }

/** A transaction in the mempool that pays to each of these scripts. */
let funding: Tx
const SCRIPTS = {
  p2pkh: p2pkhOf(point),
  p2wpkh: p2wpkhOf(point),
  nested: p2shOf(p2wpkhOf(point)),
  p2wsh: p2wshOf(multisig),
  p2sh: p2shOf(multisig),
  nestedMultisig: p2shOf(p2wshOf(multisig)),
  p2tr: p2tr(taprootTweakPoint(xOnlyFromPoint(point)).xonly),
  rawtr: p2tr(xOnlyFromPoint(point)),
}

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-raw-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0 })
  const hashes = await call<string[]>('generatetoaddress', 101, ADDRESS)
  const { tx } = await call<{ tx: { txid: string }[] }>('getblock', hashes[0], 2)
  const coinbase = decodeTx(hexToBytes(await call<string>('getrawtransaction', tx[0]!.txid)))
  const scripts = Object.values(SCRIPTS)
  const plain = pay(
    [outputOf(coinbase)],
    scripts.map(() => 600_000_000n),
  )
  funding = { ...plain, outputs: scripts.map((scriptPubKey) => ({ value: Sat(600_000_000n), scriptPubKey })) }
  await call('sendrawtransaction', bytesToHex(encodeTx(funding)), 0)
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

const spendOf = (name: keyof typeof SCRIPTS): Promise<string> =>
  call<string>(
    'createrawtransaction',
    [{ txid: txid(funding), vout: Object.keys(SCRIPTS).indexOf(name) }],
    [{ [ADDRESS]: 5.9999 }, { data: 'c0ffee' }],
  )
const prevtx = (name: keyof typeof SCRIPTS): object => ({
  txid: txid(funding),
  vout: Object.keys(SCRIPTS).indexOf(name),
  scriptPubKey: bytesToHex(SCRIPTS[name]),
  amount: 6,
  ...(name.includes('ulti') || name === 'p2wsh' ? { witnessScript: bytesToHex(multisig) } : {}),
  ...(name === 'p2sh' ? { redeemScript: bytesToHex(multisig) } : {}),
  ...(name === 'nested' ? { redeemScript: bytesToHex(p2wpkhOf(point)) } : {}),
})

describe('amounts', () => {
  it('are numbers of eight decimals in the text', async () => {
    const hex = await spendOf('p2wpkh')
    const shown = await text('decoderawtransaction', [hex])
    expect(shown).toContain('"value":5.99990000,')
    expect(shown).toContain('"value":0.00000000,')
    expect(await text('getmempoolinfo', [])).toContain('"minrelaytxfee":0.00001000')
  })
})

describe('createrawtransaction', () => {
  it('makes what decoderawtransaction shows', async () => {
    const hex = await call<string>('createrawtransaction', [{ txid: '11'.repeat(32), vout: 3 }], { [ADDRESS]: '0.5' }, 100)
    expect(await call('decoderawtransaction', hex)).toMatchObject({
      version: 2,
      locktime: 100,
      vin: [{ txid: '11'.repeat(32), vout: 3, sequence: 0xffff_fffd, scriptSig: { asm: '', hex: '' } }],
      vout: [{ n: 0, value: 0.5, scriptPubKey: { address: ADDRESS, hex: bytesToHex(ANYONE) } }],
    })
    const draft = await call<string>('createrawtransaction', [], [{ [ADDRESS]: 1 }])
    expect(await call('decoderawtransaction', draft)).toMatchObject({ vin: [], vout: [{ value: 1 }] })
    const sequences = await Promise.all(
      [
        [0, false],
        [7, false],
        [7, true],
      ].map(async ([lockTime, replaceable]) => {
        const made = await call<string>('createrawtransaction', [{ txid: '11'.repeat(32), vout: 0 }], {}, lockTime, replaceable)
        return decodeTx(hexToBytes(made)).inputs[0]?.sequence
      }),
    )
    expect(sequences).toEqual([0xffff_ffff, 0xffff_fffe, 0xffff_fffd])
  })

  it('takes names, and refuses as bitcoind does', async () => {
    const named = await ask('createrawtransaction', { args: [[]], outputs: { data: '00' }, locktime: 3 })
    expect(named.error).toBeNull()
    const input = { txid: '11'.repeat(32), vout: 0 }
    const cases: [number, string, ...unknown[]][] = [
      [-8, 'Invalid parameter, missing vout key', [{ txid: '11'.repeat(32) }], {}],
      [-8, 'Invalid parameter, vout cannot be negative', [{ ...input, vout: -1 }], {}],
      [-8, 'Invalid parameter, sequence number is out of range', [{ ...input, sequence: -1 }], {}],
      [-8, "txid must be of length 64 (not 2, for 'ab')", [{ ...input, txid: 'ab' }], {}],
      [-8, 'Invalid parameter, locktime out of range', [], {}, -1],
      [-8, 'Invalid parameter, duplicate key: data', [], [{ data: '00' }, { data: '01' }]],
      [-8, `Invalid parameter, duplicated address: ${ADDRESS}`, [], [{ [ADDRESS]: 1 }, { [ADDRESS]: 1 }]],
      [-8, 'Invalid parameter, key-value pair must contain exactly one key', [], [{ a: 1, b: 2 }]],
      [-8, "Data must be hexadecimal string (not 'foo')", [], { data: 'foo' }],
      [-5, 'Invalid Bitcoin address: foo', [], { foo: 1 }],
      [-3, 'Amount out of range', [], { [ADDRESS]: -1 }],
      [-3, 'Invalid amount', [], { [ADDRESS]: '66ae' }],
      [
        -8,
        'Invalid parameter combination: Sequence number(s) contradict replaceable option',
        [{ ...input, sequence: 0xffff_fffe }],
        {},
        0,
        true,
      ],
    ]
    for (const [code, message, ...params] of cases)
      expect(await errorOf('createrawtransaction', ...params)).toEqual({ code, message })
    expect((await errorOf('createrawtransaction'))?.code).toBe(-1)
  })
})

describe('signrawtransactionwithkey', () => {
  it.each(Object.keys(SCRIPTS) as (keyof typeof SCRIPTS)[])('signs %s', async (name) => {
    const unsigned = await spendOf(name)
    const signed = await call<Signed>('signrawtransactionwithkey', unsigned, wifs.slice(0, 2), [prevtx(name)])
    expect(signed).toEqual({ hex: expect.any(String) as string, complete: true })
    expect(await call('testmempoolaccept', [signed.hex])).toMatchObject([{ allowed: true, fees: { base: 0.0001 } }])
    const again = await call<Signed>('signrawtransactionwithkey', signed.hex, [], [prevtx(name)])
    expect(again.complete).toBe(true)
  })

  it('signs for every sighash type, with an uncompressed key too', async () => {
    const unsigned = await spendOf('p2pkh')
    for (const type of ['ALL', 'NONE', 'SINGLE', 'ALL|ANYONECANPAY', 'NONE|ANYONECANPAY', 'SINGLE|ANYONECANPAY']) {
      const { hex, complete } = await call<Signed>('signrawtransactionwithkey', unsigned, wifs, [prevtx('p2pkh')], type)
      expect(complete).toBe(true)
      const { vin } = await call<{ vin: { scriptSig: { asm: string } }[] }>('decoderawtransaction', hex)
      expect(vin[0]!.scriptSig.asm).toMatch(new RegExp(`^30[0-9a-f]+\\[${type.replace('|', '\\|')}\\] 0[23]`))
    }
    const long = encodeWif(secrets[0]!, regtest, false)
    const { p2sh, asm } = await call<{ p2sh: string; asm: string }>('decodescript', `41${bytesToHex(pointUncompress(point))}ac`)
    expect([p2sh[0], asm.endsWith('OP_CHECKSIG')]).toEqual(['2', true])
    const prev = { ...prevtx('p2pkh'), txid: '22'.repeat(32), scriptPubKey: `41${asm.split(' ')[0]}ac` }
    const spend = await call<string>('createrawtransaction', [{ txid: '22'.repeat(32), vout: 0 }], { [ADDRESS]: 1 })
    expect((await call<Signed>('signrawtransactionwithkey', spend, [long], [prev])).complete).toBe(true)
  })

  it('signs in turns, and combinerawtransaction joins what two have signed', async () => {
    for (const name of ['p2wsh', 'p2sh', 'nestedMultisig'] as const) {
      const unsigned = await spendOf(name)
      const halves = await Promise.all(
        [0, 2].map((n) => call<Signed>('signrawtransactionwithkey', unsigned, [wifs[n]], [prevtx(name)])),
      )
      expect(halves.map(({ complete }) => complete)).toEqual([false, false])
      expect(halves[0]!.errors).toMatchObject([
        { error: 'CHECK(MULTI)SIG failing with non-zero signature (possibly need more signatures)' },
      ])
      const both = await call<Signed>('signrawtransactionwithkey', halves[0]!.hex, [wifs[2]], [prevtx(name)])
      expect(both.complete).toBe(true)
      const combined = await call<string>(
        'combinerawtransaction',
        halves.map(({ hex }) => hex),
      )
      expect(combined).toBe(both.hex)
    }
  })

  it('says why an input is not signed', async () => {
    const unsigned = await spendOf('p2wpkh')
    const other = await call<Signed>('signrawtransactionwithkey', unsigned, [wifs[1]])
    expect(other).toMatchObject({ complete: false, errors: [{ error: 'Witness program hash mismatch', vout: 1 }] })
    const pkh = await call<Signed>('signrawtransactionwithkey', await spendOf('p2pkh'), [])
    expect(pkh.errors).toMatchObject([{ error: 'Unable to sign input, invalid stack size (possibly missing key)' }])
    const lost = await call<string>('createrawtransaction', [{ txid: '33'.repeat(32), vout: 0 }], {})
    expect((await call<Signed>('signrawtransactionwithkey', lost, [])).errors).toMatchObject([
      { error: 'Input not found or already spent', witness: [], scriptSig: '' },
    ])
    const { amount: _amount, ...noAmount } = { amount: 0, ...prevtx('p2wpkh') }
    expect((await errorOf('signrawtransactionwithkey', unsigned, [wifs[0]], [noAmount]))?.message).toMatch(
      /^Missing amount for CTxOut/,
    )
    expect(await errorOf('signrawtransactionwithkey', unsigned, ['nonsense'])).toEqual({
      code: -5,
      message: 'Invalid private key',
    })
    expect((await errorOf('signrawtransactionwithkey', unsigned, [], [], 'all'))?.message).toBe(
      "'all' is not a valid sighash parameter.",
    )
    expect((await errorOf('signrawtransactionwithkey', unsigned, [], [{ ...prevtx('p2wpkh'), scriptPubKey: '51' }]))?.code).toBe(
      -22,
    )
    expect((await errorOf('combinerawtransaction', [lost]))?.code).toBe(-25)
    expect(await errorOf('combinerawtransaction', [])).toEqual({ code: -22, message: 'Missing transactions' })
  })

  it('refuses a signature that does not fit, in the words of bitcoind', async () => {
    const { hex } = await call<Signed>('signrawtransactionwithkey', await spendOf('p2wpkh'), wifs)
    const tx = decodeTx(hexToBytes(hex))
    const broken = { ...tx, outputs: tx.outputs.slice(0, 1) }
    const reason = 'mandatory-script-verify-flag-failed (Signature must be zero for failed CHECK(MULTI)SIG operation)'
    expect(await call('testmempoolaccept', [bytesToHex(encodeTx(broken))])).toMatchObject([
      { allowed: false, 'reject-reason': reason },
    ])
    expect(await errorOf('sendrawtransaction', bytesToHex(encodeTx(broken)))).toEqual({ code: -26, message: reason })
    expect(outpointKey(tx.inputs[0]!.outpoint)).toContain(txid(funding))
  })
})

describe('decodescript', () => {
  it('shows what pays to a script', async () => {
    const script = bytesToHex(multisig)
    expect(await call('decodescript', script)).toMatchObject({
      type: 'multisig',
      p2sh: encodeAddress(p2shOf(multisig), regtest),
      segwit: {
        type: 'witness_v0_scripthash',
        hex: bytesToHex(p2wshOf(multisig)),
        address: encodeAddress(p2wshOf(multisig), regtest),
        desc: expect.stringMatching(/^wsh\(multi\(2,.*\)\)#/) as string,
        'p2sh-segwit': encodeAddress(p2shOf(p2wshOf(multisig)), regtest),
      },
    })
    expect(Object.keys(await call<object>('decodescript', '6a0100'))).toEqual(['asm', 'desc', 'type'])
    expect(Object.keys(await call<object>('decodescript', bytesToHex(SCRIPTS.p2sh)))).toEqual(['asm', 'desc', 'address', 'type'])
    expect(await call('decodescript', '')).toMatchObject({ asm: '', type: 'nonstandard' })
    expect((await errorOf('decodescript', 'x'))?.message).toBe("argument must be hexadecimal string (not 'x')")
  })
})
