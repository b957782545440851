/**
 * What other Lightning nodes ask of bitcoind, call by call as their sources ask it, and what they read in the answers: Core Lightning
 * (plugins/bcli.c, through bitcoin-cli), Eclair (BitcoinCoreClient.scala, ZmqWatcher), LND (btcwallet chain/bitcoind_*.go with btcd's
 * rpcclient, chainreg), LDK (lightning-block-sync and ldk-sample). Their wallets, where they want bitcoind's, are not here.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { blockHash, decodeBlock, decodeHeader, decodeTx, encodeTx, OP, p2wshOf, Sat, txid, Txid, type Tx } from '@leyden/bitcoin'
import { NOBODY } from '@leyden/devnet-service'
import { startLedger } from '@leyden/ledger-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const directory = mkdtempSync(join(tmpdir(), 'leyden-clients-'))
const ledger = await startLedger({
  datadir: directory,
  rpcPort: 0,
  p2pPort: 0,
  linkPort: 0,
  rpcUser: 'lightning',
  rpcPassword: 'secret',
  logLevel: 'silent',
})
afterAll(async () => {
  await ledger.stop()
  rmSync(directory, { recursive: true, force: true })
})

type Answer = { readonly result: unknown; readonly error: { readonly code: number; readonly message: string } | null }
type Fields = Record<string, unknown>

const post = async (body: unknown): Promise<Response> =>
  await fetch(ledger.rpcUrl, {
    method: 'POST',
    headers: { 'content-type': 'application/json', authorization: `Basic ${btoa('lightning:secret')}` },
    body: JSON.stringify(body),
  })
/** A call of JSON-RPC 1.0, as all four make them. */
const ask = async (method: string, ...params: readonly unknown[]): Promise<Answer> => {
  const answer = (await (await post({ jsonrpc: '1.0', id: 7, method, params })).json()) as Answer & { id: unknown }
  expect(answer.id).toBe(7)
  return answer
}
const call = async <T = Fields>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask(method, ...params)
  if (error !== null) throw new Error(`${method}: ${error.message} (${error.code})`)
  return result as T
}
const codeOf = async (method: string, ...params: readonly unknown[]): Promise<number | undefined> =>
  (await ask(method, ...params)).error?.code

const TRUE_SCRIPT = Uint8Array.of(OP.OP_1)
const spend = (id: string, value: bigint, fee = 1000n): Tx => ({
  version: 2,
  inputs: [
    { outpoint: { txid: Txid(id), vout: 0 }, scriptSig: new Uint8Array(0), sequence: 0xffff_fffd, witness: [TRUE_SCRIPT] },
  ],
  outputs: [{ value: Sat(value - fee), scriptPubKey: p2wshOf(TRUE_SCRIPT) }],
  lockTime: 0,
})
const hexOf = (tx: Tx): string => bytesToHex(encodeTx(tx))
const SUBSIDY = 5_000_000_000n

let coinbases: string[]
let tip: string
beforeAll(async () => {
  const hashes = await call<string[]>('generatetoaddress', 110, NOBODY)
  tip = hashes.at(-1) as string
  coinbases = await Promise.all(
    hashes.slice(0, 9).map(async (hash) => (await call<{ tx: string[] }>('getblock', hash)).tx[0] as string),
  )
})

describe('Core Lightning', () => {
  it('checks the node before it starts', async () => {
    expect(await call('echo')).toEqual([])
    const info = await call('getnetworkinfo')
    expect(info).toMatchObject({ version: expect.any(Number), localrelay: true })
    expect(info['version']).toBeGreaterThanOrEqual(220_000)
  })
  it('getchaininfo: where the chain stands', async () => {
    expect(await call('getblockchaininfo')).toMatchObject({
      chain: 'regtest',
      headers: 110,
      blocks: 110,
      initialblockdownload: false,
    })
  })
  it('getrawblockbyheight: a block by its height, nothing beyond the tip', async () => {
    const hash = await call<string>('getblockhash', 110)
    expect(hash).toBe(tip)
    const block = decodeBlock(hexToBytes(await call<string>('getblock', hash, 0)))
    expect(blockHash(block.header)).toBe(tip)
    // bitcoin-cli ends with 8, the number of the error: "not yet". Any other is tried again and again.
    expect(await ask('getblockhash', 111)).toMatchObject({ error: { code: -8, message: 'Block height out of range' } })
  })
  it('estimatefees: a rate in BTC for 1,000 bytes, or no field', async () => {
    for (const [target, mode] of [
      [2, 'CONSERVATIVE'],
      [3, 'CONSERVATIVE'],
      [4, 'ECONOMICAL'],
      [6, 'ECONOMICAL'],
      [12, 'ECONOMICAL'],
      [100, 'ECONOMICAL'],
    ] as const) {
      const { feerate = 0.00001, blocks } = await call<{ feerate?: number; blocks: number }>('estimatesmartfee', target, mode)
      expect(blocks).toBeTypeOf('number')
      expect(feerate).toBeGreaterThanOrEqual(0.00001)
    }
    expect(await call('getmempoolinfo')).toMatchObject({ mempoolminfee: 0.00001, minrelaytxfee: 0.00001 })
  })
  it('sendrawtransaction: success, or why not in the words of bitcoind', async () => {
    const tx = spend(coinbases[0] as string, SUBSIDY)
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    // Given again by the next start: no error.
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    const dear = spend(coinbases[1] as string, SUBSIDY, 100_000_000n)
    expect(await codeOf('sendrawtransaction', hexOf(dear))).toBe(-25)
    // allowhighfees: no maximum.
    expect(await call('sendrawtransaction', hexOf(dear), 0)).toBe(txid(dear))
    expect(await ask('sendrawtransaction', hexOf(spend('11'.repeat(32), 5000n)))).toMatchObject({
      error: { code: -25, message: 'bad-txns-inputs-missingorspent' },
    })
  })
  it('getutxout: amount and script, null when spent, also only in the mempool', async () => {
    expect(await call('gettxout', coinbases[2], 0)).toMatchObject({
      value: 50,
      scriptPubKey: { hex: bytesToHex(p2wshOf(TRUE_SCRIPT)) },
    })
    expect(await call('gettxout', coinbases[0], 0)).toBeNull()
  })
  it('asks peers for blocks that were pruned', async () => {
    expect(await call('getpeerinfo')).toEqual([])
  })
})

describe('Eclair', () => {
  it('checks the chain, its index and its progress before it starts', async () => {
    const info = await call('getblockchaininfo')
    expect(info).toMatchObject({ chain: 'regtest', pruned: false, initialblockdownload: false })
    expect(info['verificationprogress']).toBeGreaterThanOrEqual(0.99)
    expect(info['mediantime']).toBeTypeOf('number')
    expect((await call<{ version: number }>('getnetworkinfo')).version).toBeGreaterThanOrEqual(280_000)
    expect(await call('getblockhash', 0)).toBe('0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206')
    expect(await call('getindexinfo')).toMatchObject({ txindex: { synced: true } })
  })
  it('publishes a transaction again and again, and tells a conflict from a success', async () => {
    const tx = spend(coinbases[3] as string, SUBSIDY)
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    await call('generatetoaddress', 1, NOBODY)
    // "transaction outputs already in utxo set": confirmed.
    expect(await codeOf('sendrawtransaction', hexOf(tx))).toBe(-27)
    const child = spend(txid(tx), SUBSIDY - 1000n)
    await call('sendrawtransaction', hexOf(child))
    await call('generatetoaddress', 1, NOBODY)
    // Confirmed and its output spent: -25, and then it is found.
    expect(await codeOf('sendrawtransaction', hexOf(tx))).toBe(-25)
    expect(await call('getrawtransaction', txid(tx))).toBe(hexOf(tx))
  })
  it('follows confirmations and finds short channel ids', async () => {
    const id = coinbases[4] as string
    const found = await call<{ confirmations: number; blockhash: string }>('getrawtransaction', id, 1)
    expect(found.confirmations).toBe(112 - 4)
    const { height, tx } = await call<{ height: number; tx: string[] }>('getblock', found.blockhash)
    expect([height, tx.indexOf(id)]).toEqual([5, 0])
    expect(await codeOf('getrawtransaction', '22'.repeat(32), 1)).toBe(-5)
  })
  it('validates announcements: block, transaction, output with and without the mempool', async () => {
    const hash = await call<string>('getblockhash', 6)
    const { tx } = await call<{ tx: string[] }>('getblock', hash)
    const id = tx[0] as string
    expect(txid(decodeTx(hexToBytes(await call<string>('getrawtransaction', id))))).toBe(id)
    expect(await call('gettxout', id, 0, true)).not.toBeNull()
    const spending = spend(id, SUBSIDY)
    await call('sendrawtransaction', hexOf(spending))
    expect(await call('gettxout', id, 0, true)).toBeNull()
    expect(await call('gettxout', id, 0, false)).not.toBeNull()
    expect(await call('getrawmempool')).toContain(txid(spending))
    expect(await call('gettxspendingprevout', [{ txid: id, vout: 0 }])).toEqual([
      { txid: id, vout: 0, spendingtxid: txid(spending) },
    ])
    const entry = await call<{ fees: Fields }>('getmempoolentry', txid(spending))
    expect(entry).toMatchObject({
      vsize: expect.any(Number),
      weight: expect.any(Number),
      ancestorcount: 1,
      descendantcount: 1,
      'bip125-replaceable': true,
      fees: { base: 0.00001, ancestor: 0.00001, descendant: 0.00001 },
    })
  })
  it('walks blocks back to who spent an output', async () => {
    let hash = await call<string>('getbestblockhash')
    let found: Tx | undefined
    for (let i = 0; i < 3 && found === undefined; i++) {
      const block = decodeBlock(hexToBytes(await call<string>('getblock', hash, 0)))
      found = block.transactions.find(({ inputs }) => inputs.some(({ outpoint }) => outpoint.txid === coinbases[3]))
      hash = block.header.previousHash
    }
    expect(found).toBeDefined()
  })
  it('sends a parent with its child', async () => {
    const parent = { ...spend(coinbases[6] as string, SUBSIDY, 0n), version: 3 }
    const child = { ...spend(txid(parent), SUBSIDY, 20_000n), version: 3 }
    expect(await call('submitpackage', [hexOf(parent), hexOf(child)])).toMatchObject({
      package_msg: 'success',
      'tx-results': { [bytesToHex(hexToBytes(await wtxidOf(parent)))]: { txid: txid(parent) } },
    })
    expect(await call('testmempoolaccept', [hexOf(spend(coinbases[7] as string, SUBSIDY))])).toMatchObject([
      { allowed: true, vsize: expect.any(Number), fees: { base: 0.00001 } },
    ])
  })
})

const wtxidOf = async (tx: Tx): Promise<string> => (await call<{ hash: string }>('decoderawtransaction', hexOf(tx))).hash

describe('LND', () => {
  it('finds out what it talks to', async () => {
    // rpcclient: a btcd would know getinfo; bitcoind's version stands in the text, compared as text.
    expect(await codeOf('getinfo')).toBe(-32601)
    const { subversion } = await call<{ subversion: string }>('getnetworkinfo')
    const version = subversion.replace(/^\/Satoshi:/, '').replace(/\/$/, '')
    for (const least of ['0.19.0', '22.0.0', '24.0.0', '25.0.0']) expect(version > least).toBe(true)
    expect(await call('getblockhash', 0)).toBe('0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206')
    const { deployments } = await call<{ deployments: Fields }>('getdeploymentinfo')
    expect(deployments).toHaveProperty('taproot')
    expect(await call('getzmqnotifications')).toEqual(expect.any(Array))
  })
  it('reads headers and blocks', async () => {
    const best = await call<string>('getbestblockhash')
    expect(await call('getblockchaininfo')).toMatchObject({ bestblockhash: best, blocks: 112, pruned: false })
    expect(await call('getblockheader', best, true)).toMatchObject({
      hash: best,
      height: 112,
      previousblockhash: expect.any(String),
    })
    expect(blockHash(decodeHeader(hexToBytes(await call<string>('getblockheader', best, false))))).toBe(best)
    expect(blockHash(decodeBlock(hexToBytes(await call<string>('getblock', best, 0))).header)).toBe(best)
    expect(await call('getblock', best, 1)).toMatchObject({ height: 112, tx: expect.any(Array) })
    expect(await call('getblockcount')).toBe(112)
  })
  it('fetches the mempool in one batch', async () => {
    const ids = await call<string[]>('getrawmempool')
    const batch = ids.map((id, i) => ({ jsonrpc: '1.0', id: i, method: 'getrawtransaction', params: [id, 0] }))
    const answers = (await (await post(batch)).json()) as (Answer & { id: number })[]
    expect(answers).toHaveLength(ids.length)
    for (const { id, result } of answers) expect(txid(decodeTx(hexToBytes(result as string)))).toBe(ids[id])
    expect(await call('getrawtransaction', ids[0], 1)).toMatchObject({ txid: ids[0], hex: expect.any(String) })
  })
  it('asks for fees, and the least that is relayed', async () => {
    for (const mode of ['CONSERVATIVE', 'ECONOMICAL'])
      expect(await call('estimatesmartfee', 6, mode)).toHaveProperty('blocks', expect.any(Number))
    expect(await call('getnetworkinfo')).toMatchObject({ relayfee: 0.00001 })
    expect(await call('getmempoolinfo')).toMatchObject({ mempoolminfee: 0.00001 })
  })
  it('tests and publishes', async () => {
    const tx = spend(coinbases[7] as string, SUBSIDY)
    expect(await call('testmempoolaccept', [hexOf(tx)], 0)).toMatchObject([{ txid: txid(tx), allowed: true }])
    expect(await call('sendrawtransaction', hexOf(tx), 0)).toBe(txid(tx))
    expect(await call('testmempoolaccept', [hexOf(tx)], 0)).toMatchObject([
      { allowed: false, 'reject-reason': 'txn-already-in-mempool' },
    ])
    const double = spend(coinbases[7] as string, SUBSIDY, 1001n)
    const answer = await ask('sendrawtransaction', hexOf(double), 0)
    // Its table of reasons is matched by these words.
    expect(answer.error?.message).toMatch(/^insufficient fee, rejecting replacement/)
    expect(await call('gettxout', txid(tx), 0, true)).toMatchObject({ confirmations: 0, value: 49.99999 })
  })
})

describe('LDK', () => {
  it('syncs headers and blocks by lightning-block-sync', async () => {
    const { bestblockhash, blocks } = await call<{ bestblockhash: string; blocks: number }>('getblockchaininfo')
    expect(await call('getblockheader', bestblockhash)).toMatchObject({
      version: expect.any(Number),
      versionHex: expect.stringMatching(/^[0-9a-f]{8}$/),
      merkleroot: expect.stringMatching(/^[0-9a-f]{64}$/),
      time: expect.any(Number),
      nonce: expect.any(Number),
      bits: '207fffff',
      chainwork: expect.stringMatching(/^[0-9a-f]{64}$/),
      height: blocks,
      previousblockhash: expect.stringMatching(/^[0-9a-f]{64}$/),
    })
    expect(blockHash(decodeBlock(hexToBytes(await call<string>('getblock', bestblockhash, 0))).header)).toBe(bestblockhash)
    expect(await call('getblockhash', blocks)).toBe(bestblockhash)
    expect(await call('gettxout', coinbases[8], 0, false)).toMatchObject({ bestblock: bestblockhash })
  })
  it('broadcasts, and reads the mempool with its sequence', async () => {
    const tx = spend(coinbases[8] as string, SUBSIDY)
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    expect(await call('getrawmempool', false)).toContain(txid(tx))
    expect(await call('getmempoolentry', txid(tx))).toMatchObject({ time: expect.any(Number), height: 112 })
    expect(await call('getmempoolinfo')).toMatchObject({ mempoolminfee: expect.any(Number) })
    for (const [target, mode] of [
      [144, 'ECONOMICAL'],
      [18, 'ECONOMICAL'],
      [6, 'CONSERVATIVE'],
    ] as const)
      expect(await call('estimatesmartfee', target, mode)).toHaveProperty('blocks')
  })
})
