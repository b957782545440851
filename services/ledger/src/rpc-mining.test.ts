import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { decodeBlock, encodeAddress, encodeBlock, encodeTx, networks, txid, wtxid, type Tx } from '@leyden/bitcoin'
import { startLedger, type RunningLedger } from './daemon.ts'
import { ANYONE, outputOf, pay } from './testing.ts'

const SUBSIDY = 5_000_000_000n
const ADDRESS = encodeAddress(ANYONE, networks.regtest) as string
const RULES = { rules: ['segwit'] }

let ledger: RunningLedger
let datadir: string
let coinbases: Tx[]

type Answer = { readonly result: unknown; readonly error: { readonly code: number; readonly message: string } | null }
const ask = async (method: string, ...params: readonly unknown[]): Promise<Answer> => {
  const authorization = `Basic ${btoa(readFileSync(ledger.cookieFile, 'utf8'))}`
  const body = JSON.stringify({ method, params, id: 1 })
  return (await (await fetch(ledger.rpcUrl, { method: 'POST', body, headers: { authorization } })).json()) as Answer
}
const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask(method, ...params)
  if (error !== null) throw new Error(`${error.code} ${error.message}`)
  return result as T
}
const hexOf = (tx: Tx): string => bytesToHex(encodeTx(tx))
const spend = (n: number, fee = 1000n): Tx => pay([outputOf(coinbases[n]!)], [SUBSIDY - fee])

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-mining-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0 })
  const hashes = await call<string[]>('generatetoaddress', 115, ADDRESS)
  coinbases = await Promise.all(
    hashes.slice(0, 12).map(async (hash) => decodeBlock(hexToBytes(await call<string>('getblock', hash, 0))).transactions[0]!),
  )
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

describe('priorities', () => {
  it('add up, count for miner and limits, and are shown', async () => {
    const tx = spend(0)
    await call('sendrawtransaction', hexOf(tx))
    expect(await call('prioritisetransaction', txid(tx), 0, 700)).toBe(true)
    await call('prioritisetransaction', txid(tx), null, -200)
    await call('prioritisetransaction', '11'.repeat(32), 0, 5)
    expect(await call('getprioritisedtransactions')).toEqual({
      [txid(tx)]: { fee_delta: 500, in_mempool: true, modified_fee: 1500 },
      ['11'.repeat(32)]: { fee_delta: 5, in_mempool: false },
    })
    expect(await call('getmempoolentry', txid(tx))).toMatchObject({
      fees: { base: 0.00001, modified: 0.000015 },
      unbroadcast: true,
    })
    expect((await ask('prioritisetransaction', txid(tx), 1, 5)).error?.message).toMatch(/^Priority is no longer supported/)
    await call('prioritisetransaction', txid(tx), 0, -500)
    expect(Object.keys(await call<object>('getprioritisedtransactions'))).toEqual(['11'.repeat(32)])
  })
})

describe('a block template', () => {
  it('holds what waits, parents first, with fee, signature operations and places', async () => {
    const parent = spend(1)
    const child = pay([outputOf(parent)], [SUBSIDY - 9000n])
    for (const tx of [parent, child]) await call('sendrawtransaction', hexOf(tx))
    const template = await call<{
      transactions: { txid: string; depends: number[]; fee: number }[]
      longpollid: string
      height: number
    }>('getblocktemplate', RULES)
    const at = template.transactions.findIndex((one) => one.txid === txid(parent))
    expect(template.transactions[at + 1]).toMatchObject({ txid: txid(child), hash: wtxid(child), depends: [at + 1], fee: 8000 })
    expect(template.longpollid).toMatch(new RegExp(`^${await call<string>('getbestblockhash')}\\d+$`))
    expect((await ask('getblocktemplate', {})).error?.message).toMatch(/must be called with the segwit rule set/)
    expect((await ask('getblocktemplate', { ...RULES, mode: 'odd' })).error?.message).toBe('Invalid mode')
  })

  it('waits for a better one while the tip stays', async () => {
    const { longpollid } = await call<{ longpollid: string }>('getblocktemplate', RULES)
    let isWaiting = true
    const waiting = call<{ previousblockhash: string }>('getblocktemplate', { ...RULES, longpollid }).finally(() => {
      isWaiting = false
    })
    await call('getblockcount')
    expect(isWaiting).toBe(true)
    const [hash] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    expect((await waiting).previousblockhash).toBe(hash)
  })

  it('may be proposed by the miner, who is told what would become of it', async () => {
    const made = await call<{ hex: string }>('generateblock', ADDRESS, [], false)
    const propose = (data: string) => call('getblocktemplate', { mode: 'proposal', data, ...RULES })
    expect(await propose(made.hex)).toBe(null)
    const block = decodeBlock(hexToBytes(made.hex))
    const old = { ...block, header: { ...block.header, time: 1 } }
    expect(await propose(bytesToHex(encodeBlock(old)))).toBe('time-too-old')
    expect(await propose(await call<string>('getblock', await call('getbestblockhash'), 0))).toBe('duplicate')
    expect((await ask('getblocktemplate', { mode: 'proposal', ...RULES })).error).toEqual({
      code: -3,
      message: 'Missing data String key for proposal',
    })
    expect(await call('submitblock', made.hex)).toBe(null)
  })
})

describe('the mempool', () => {
  it('is told in order with the count of its changes', async () => {
    const tx = spend(4)
    await call('sendrawtransaction', hexOf(tx))
    const { txids, mempool_sequence: sequence } = await call<{ txids: string[]; mempool_sequence: number }>(
      'getrawmempool',
      false,
      true,
    )
    expect(txids).toContain(txid(tx))
    await call('sendrawtransaction', hexOf(spend(5)))
    expect(await call('getrawmempool', false, true)).toMatchObject({ mempool_sequence: sequence + 1 })
    expect((await ask('getrawmempool', true, true)).error?.message).toBe(
      'Verbose results cannot contain mempool sequence values.',
    )
  })

  it('goes into a file and comes from one', async () => {
    const { filename } = await call<{ filename: string }>('savemempool')
    expect(filename).toBe(join(datadir, 'mempool.dat'))
    const before = await call<string[]>('getrawmempool')
    await call('generatetoaddress', 1, ADDRESS)
    const tip = await call<string>('getbestblockhash')
    await call('invalidateblock', tip)
    expect((await call<string[]>('getrawmempool')).sort()).toEqual(before.sort())
    expect(await call('importmempool', filename, { apply_fee_delta_priority: true })).toEqual({})
    expect(await call('getprioritisedtransactions')).toMatchObject({ ['11'.repeat(32)]: { fee_delta: 10 } })
    expect((await ask('importmempool', join(datadir, 'none'))).error?.message).toBe(
      'Unable to import mempool file, see debug.log for details.',
    )
  })

  it('says what several would do together, and each of a package', async () => {
    const parent = pay([outputOf(coinbases[6]!)], [SUBSIDY], { version: 3 })
    const child = pay([outputOf(parent)], [SUBSIDY - 5000n], { version: 3 })
    const sent = await call<{ package_msg: string; 'tx-results': Record<string, { fees: object }> }>('submitpackage', [
      hexOf(parent),
      hexOf(child),
    ])
    expect(sent.package_msg).toBe('success')
    expect(sent['tx-results'][wtxid(parent)]?.fees).toMatchObject({
      base: 0,
      'effective-includes': [wtxid(parent), wtxid(child)],
    })
    const apart = [hexOf(spend(7)), hexOf(spend(8))]
    expect((await ask('submitpackage', apart)).error?.message).toMatch(/^package topology disallowed/)
    expect(await call('testmempoolaccept', [apart[0], apart[0]])).toMatchObject([
      { 'package-error': 'package-contains-duplicates' },
      { 'package-error': 'package-contains-duplicates' },
    ])
  })

  it('has estimates of fees only where it has learnt enough', async () => {
    expect(await call('estimaterawfee', 6)).toMatchObject({
      short: { decay: 0.962, scale: 1, errors: [expect.any(String)] },
      medium: {},
      long: {},
    })
    expect(Object.keys(await call<object>('estimaterawfee', 500))).toEqual(['long'])
    expect((await ask('estimaterawfee', 6, 2)).error?.message).toBe('Invalid threshold')
  })
})
