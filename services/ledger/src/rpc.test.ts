import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  blockHash,
  decodeBlock,
  decodeHeader,
  decodeTx,
  encodeAddress,
  encodeBlock,
  encodeTx,
  networks,
  Sat,
  txid,
  wtxid,
  type Block,
  type Tx,
} from '@leyden/bitcoin'
import { startLedger, type RunningLedger } from './daemon.ts'
import { ANYONE, outputOf, pay } from './testing.ts'

const SUBSIDY = 5_000_000_000n
const ADDRESS = encodeAddress(ANYONE, networks.regtest) as string

let ledger: RunningLedger
let datadir: string
let coinbases: Tx[]

const post = (body: string, headers: Record<string, string> = {}, path = '/'): Promise<Response> =>
  fetch(`${ledger.rpcUrl}${path}`, {
    method: 'POST',
    body,
    headers: { authorization: `Basic ${btoa(readFileSync(ledger.cookieFile, 'utf8'))}`, ...headers },
  })
type Answer = {
  readonly result: unknown
  readonly error: { readonly code: number; readonly message: string } | null
  readonly id: unknown
}
const ask = async (method: string, ...params: readonly unknown[]): Promise<Answer> =>
  (await (await post(JSON.stringify({ method, params, id: 7 }))).json()) as Answer
const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask(method, ...params)
  if (error !== null) throw new Error(`${error.code} ${error.message}`)
  return result as T
}
const errorOf = async (method: string, ...params: readonly unknown[]): Promise<Answer['error']> =>
  (await ask(method, ...params)).error
const spend = (n: number, fee = 1000n): Tx => pay([outputOf(coinbases[n]!)], [SUBSIDY - fee])
const hexOf = (tx: Tx): string => bytesToHex(encodeTx(tx))
const rawBlock = async (hash: string): Promise<Block> => decodeBlock(hexToBytes(await call<string>('getblock', hash, 0)))

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-rpc-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0, rpcUser: 'polar', rpcPassword: 'secret word' })
  const hashes = await call<string[]>('generatetoaddress', 120, ADDRESS)
  coinbases = await Promise.all(hashes.slice(0, 20).map(async (hash) => (await rawBlock(hash)).transactions[0]!))
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

describe('who may call', () => {
  it('is who has the cookie, or user and password', async () => {
    expect(statSync(ledger.cookieFile).mode & 0o777).toBe(0o600)
    expect(readFileSync(ledger.cookieFile, 'utf8')).toMatch(/^__cookie__:[0-9a-f]{64}$/)
    const body = JSON.stringify({ method: 'uptime' })
    expect((await post(body)).status).toBe(200)
    expect((await post(body, { authorization: `Basic ${btoa('polar:secret word')}` })).status).toBe(200)
    const wrong = await post(body, { authorization: `Basic ${btoa('polar:secret')}` })
    expect([wrong.status, wrong.headers.get('www-authenticate'), await wrong.text()]).toEqual([401, 'Basic realm="jsonrpc"', ''])
    expect((await post(body, { authorization: 'Bearer x' })).status).toBe(401)
    expect((await fetch(ledger.rpcUrl, { method: 'POST', body })).status).toBe(401)
    expect((await fetch(ledger.rpcUrl)).status).toBe(405)
  })
})

describe('the protocol', () => {
  it('answers 1.0 with result and error, and an HTTP status for errors', async () => {
    const good = await post('{"method":"getblockcount","id":"x"}')
    expect([good.status, await good.json()]).toEqual([200, { result: 120, error: null, id: 'x' }])
    const missing = await post('{"method":"nope","params":[],"id":1}')
    expect([missing.status, await missing.json()]).toEqual([
      404,
      { result: null, error: { code: -32601, message: 'Method not found' }, id: 1 },
    ])
    const bad = await post('{"method":"getblockhash","params":[999],"id":1}')
    expect([bad.status, await bad.json()]).toEqual([
      500,
      { result: null, error: { code: -8, message: 'Block height out of range' }, id: 1 },
    ])
    expect((await post('{"params":[]}')).status).toBe(400)
    const unparsable = await post('{')
    expect([unparsable.status, ((await unparsable.json()) as Answer).error?.code]).toEqual([500, -32700])
  })

  it('answers 2.0 with one of the two, always 200, and nothing to a notification', async () => {
    const good = await post('{"jsonrpc":"2.0","method":"getblockcount","id":1}')
    expect(await good.json()).toEqual({ jsonrpc: '2.0', result: 120, id: 1 })
    const bad = await post('{"jsonrpc":"2.0","method":"nope","id":1}')
    expect([bad.status, await bad.json()]).toEqual([
      200,
      { jsonrpc: '2.0', error: { code: -32601, message: 'Method not found' }, id: 1 },
    ])
    const silent = await post('{"jsonrpc":"2.0","method":"getblockcount"}')
    expect([silent.status, await silent.text()]).toEqual([204, ''])
  })

  it('takes batches, each member by itself', async () => {
    const batch = [{ method: 'getblockcount', id: 1 }, { method: 'nope', id: 2 }, 5, { jsonrpc: '2.0', method: 'uptime' }]
    const answer = await post(JSON.stringify(batch))
    expect(answer.status).toBe(200)
    expect(await answer.json()).toEqual([
      { result: 120, error: null, id: 1 },
      { result: null, error: { code: -32601, message: 'Method not found' }, id: 2 },
      { result: null, error: { code: -32600, message: 'Invalid Request object' }, id: null },
    ])
    expect(await (await post('[]')).json()).toEqual([])
  })

  it('takes named parameters', async () => {
    const answer = await post(JSON.stringify({ method: 'getblockhash', params: { height: 0 }, id: 1 }))
    expect(((await answer.json()) as Answer).result).toBe('0f9188f13cb7b2c71f2a335e3a4fc328bf5beb436012afca590b1a11466e2206')
    const wrong = await post(JSON.stringify({ method: 'getblockhash', params: { hight: 0 }, id: 1 }))
    expect(((await wrong.json()) as Answer).error).toEqual({ code: -8, message: 'Unknown named parameter hight' })
    expect(await errorOf('getblockcount', 1)).toMatchObject({ code: -1, message: expect.stringMatching(/^getblockcount\n/) })
  })
})

describe('the chain', () => {
  it('shows its state', async () => {
    const info = await call<Record<string, unknown>>('getblockchaininfo')
    const best = await call<string>('getbestblockhash')
    expect(info).toMatchObject({
      chain: 'regtest',
      blocks: 120,
      headers: 120,
      bestblockhash: best,
      difficulty: 4.656542373906925e-10,
      initialblockdownload: false,
      chainwork: '00000000000000000000000000000000000000000000000000000000000000f2',
      pruned: false,
      warnings: [],
    })
    expect(await call('getblockcount')).toBe(120)
  })

  it('shows headers, verbose or not, and wants a boolean to choose', async () => {
    const hash = await call<string>('getblockhash', 2)
    const raw = await call<string>('getblockheader', hash, false)
    expect(raw).toHaveLength(160)
    expect(blockHash(decodeHeader(hexToBytes(raw)))).toBe(hash)
    const json = await call<Record<string, unknown>>('getblockheader', hash)
    const names =
      'hash confirmations height version versionHex merkleroot time mediantime nonce bits difficulty chainwork nTx previousblockhash nextblockhash'
    expect(Object.keys(json)).toEqual(names.split(' '))
    expect(json).toMatchObject({ hash, confirmations: 119, height: 2, versionHex: '20000000', bits: '207fffff', nTx: 1 })
    expect((await errorOf('getblockheader', hash, 0))?.code).toBe(-3)
    expect(await errorOf('getblockheader', '00'.repeat(32))).toEqual({ code: -5, message: 'Block not found' })
    expect(await errorOf('getblockheader', 'ab')).toEqual({
      code: -8,
      message: "hash must be of length 64 (not 2, for 'ab')",
    })
  })

  it('shows blocks in four depths', async () => {
    await call('sendrawtransaction', hexOf(spend(0)))
    const [hash] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    const block = await rawBlock(hash!)
    expect(blockHash(block.header)).toBe(hash)
    const ids = block.transactions.map(txid)
    expect(await call('getblock', hash)).toMatchObject({ hash, nTx: 2, tx: ids, weight: expect.any(Number) as number })
    const deep = await call<{ tx: { txid: string; fee?: number; hex: string; vin: object[] }[] }>('getblock', hash, 2)
    expect(deep.tx.map((tx) => [tx.txid, tx.fee])).toEqual([
      [ids[0], undefined],
      [ids[1], 0.00001],
    ])
    expect(decodeTx(hexToBytes(deep.tx[1]!.hex))).toEqual(block.transactions[1])
    expect(deep.tx[0]!.vin[0]).toHaveProperty('coinbase')
    const deepest = await call<{ tx: { vin: { prevout?: object }[] }[] }>('getblock', hash, 3)
    expect(deepest.tx[1]!.vin[0]!.prevout).toMatchObject({ generated: true, height: 1, value: 50 })
    expect(await call('getblock', await call('getblockhash', 0), 0)).toBe(bytesToHex(encodeBlock(networks.regtest.genesis)))
  })

  it('finds transactions and outputs', async () => {
    const tx = spend(1)
    const hash = await call<string>('sendrawtransaction', hexOf(tx))
    expect(hash).toBe(txid(tx))
    expect(await call('getrawtransaction', hash)).toBe(hexOf(tx))
    expect(await call('getrawtransaction', hash, true)).toMatchObject({
      txid: hash,
      hash: wtxid(tx),
      vout: [{ n: 0, value: 49.99999 }],
    })
    expect(await call('gettxout', hash, 0)).toMatchObject({ confirmations: 0, coinbase: false, value: 49.99999 })
    expect(await call('gettxout', hash, 0, false)).toBeNull()
    expect(await call('gettxout', txid(coinbases[1]!), 0)).toBeNull()
    expect(await call('gettxout', txid(coinbases[1]!), 0, false)).toMatchObject({ coinbase: true, value: 50 })
    const [block] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    expect(await call('getrawtransaction', hash, 1)).toMatchObject({ blockhash: block, confirmations: 1 })
    expect(await call('getrawtransaction', hash, 2)).toMatchObject({ fee: 0.00001, vin: [{ prevout: { value: 50 } }] })
    expect(await call('getrawtransaction', hash, false, block)).toBe(hexOf(tx))
    expect(await call('gettxout', hash, 0)).toMatchObject({
      bestblock: block,
      confirmations: 1,
      scriptPubKey: { address: ADDRESS, type: 'witness_v0_scripthash' },
    })
    expect((await errorOf('getrawtransaction', '11'.repeat(32)))?.code).toBe(-5)
    expect(await call('decoderawtransaction', hexOf(tx))).toMatchObject({ txid: hash, locktime: 0 })
    expect((await errorOf('decoderawtransaction', 'zz'))?.code).toBe(-22)
  })

  it('can be turned back and forth', async () => {
    const tip = await call<string>('getbestblockhash')
    const height = await call<number>('getblockcount')
    await call('invalidateblock', tip)
    expect(await call('getblockcount')).toBe(height - 1)
    const [other] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    expect(await call('getblockheader', tip)).toMatchObject({ confirmations: -1 })
    const tips = await call<{ status: string }[]>('getchaintips')
    expect(tips).toHaveLength(2)
    expect(tips).toContainEqual({ height, hash: other, branchlen: 0, status: 'active' })
    expect(tips).toContainEqual({ height, hash: tip, branchlen: 1, status: 'invalid' })
    await call('invalidateblock', other)
    const below = await call<string>('getbestblockhash')
    expect(await call('getchaintips')).toContainEqual({ height: height - 1, hash: below, branchlen: 0, status: 'active' })
    await call('reconsiderblock', tip)
    expect(await call('getbestblockhash')).toBe(tip)
    expect(await errorOf('invalidateblock', '00'.repeat(32))).toEqual({ code: -5, message: 'Block not found' })
  })
})

describe('the mempool', () => {
  it('refuses with the codes and words of bitcoind', async () => {
    const tx = spend(2)
    expect(await errorOf('sendrawtransaction', 'ff')).toEqual({
      code: -22,
      message: 'TX decode failed. Make sure the tx has at least one input.',
    })
    const unknown = pay([outputOf(spend(19, 5n), 9)], [1000n])
    expect(await errorOf('sendrawtransaction', hexOf(unknown))).toEqual({ code: -25, message: 'bad-txns-inputs-missingorspent' })
    expect(await errorOf('sendrawtransaction', hexOf(spend(2, 1n)))).toEqual({
      code: -26,
      message: 'min relay fee not met, 1 < 96',
    })
    expect((await errorOf('sendrawtransaction', hexOf(spend(2, 100_000_000n))))?.code).toBe(-25)
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    expect(await call('sendrawtransaction', hexOf(tx))).toBe(txid(tx))
    expect((await errorOf('sendrawtransaction', hexOf(spend(2, 1010n))))?.message).toMatch(
      /^insufficient fee, rejecting replacement /,
    )
    await call('generatetoaddress', 1, ADDRESS)
    expect(await errorOf('sendrawtransaction', hexOf(tx))).toEqual({
      code: -27,
      message: 'Transaction outputs already in utxo set',
    })
    const burn = { ...spend(3), outputs: [{ value: Sat(1000n), scriptPubKey: Uint8Array.of(0x6a) }, ...spend(3, 5000n).outputs] }
    expect((await errorOf('sendrawtransaction', hexOf(burn)))?.message).toContain('maxburnamount')
  })

  it('judges without taking', async () => {
    const good = spend(4)
    expect(await call('testmempoolaccept', [hexOf(good)])).toEqual([
      {
        txid: txid(good),
        wtxid: wtxid(good),
        allowed: true,
        vsize: 96,
        fees: { base: 0.00001, 'effective-feerate': 0.00010416, 'effective-includes': [wtxid(good)] },
      },
    ])
    const missing = pay([outputOf(good)], [1000n])
    expect(await call('testmempoolaccept', [hexOf(missing)])).toMatchObject([
      { allowed: false, 'reject-reason': 'missing-inputs' },
    ])
    expect(await call('getrawmempool')).toEqual([])
  })

  it('takes a package in which the child pays', async () => {
    const parent = pay([outputOf(coinbases[5]!)], [SUBSIDY], { version: 3 })
    const child = pay([outputOf(parent)], [SUBSIDY - 5000n], { version: 3 })
    const answer = await call<{ package_msg: string; 'tx-results': Record<string, object> }>('submitpackage', [
      hexOf(parent),
      hexOf(child),
    ])
    expect(answer.package_msg).toBe('success')
    expect(answer['tx-results'][wtxid(parent)]).toMatchObject({
      txid: txid(parent),
      fees: { base: 0, 'effective-includes': [wtxid(parent), wtxid(child)] },
    })
    expect(await call('getmempoolentry', txid(child))).toMatchObject({
      ancestorcount: 2,
      depends: [txid(parent)],
      fees: { base: 0.00005, ancestor: 0.00005 },
    })
    expect(await call('getmempoolinfo')).toMatchObject({ size: 2, total_fee: 0.00005, minrelaytxfee: 0.00001, fullrbf: true })
    expect(Object.keys(await call<object>('getrawmempool', true))).toEqual([txid(parent), txid(child)])
    expect(await call('gettxspendingprevout', [outputOf(parent)])).toEqual([{ ...outputOf(parent), spendingtxid: txid(child) }])
    expect(await errorOf('getmempoolentry', '11'.repeat(32))).toEqual({ code: -5, message: 'Transaction not in mempool' })
  })

  it('estimates fees', async () => {
    expect(await call('estimatesmartfee', 6)).toEqual({ errors: ['Insufficient data or no feerate found'], blocks: 1 })
    expect((await errorOf('estimatesmartfee', 0))?.message).toBe('Invalid conf_target, must be between 1 and 1008')
    expect((await errorOf('estimatesmartfee', '6'))?.code).toBe(-3)
  })
})

describe('mining', () => {
  it('refuses an address of another network', async () => {
    expect(await errorOf('generatetoaddress', 1, 'bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4')).toEqual({
      code: -5,
      message: 'Error: Invalid address',
    })
  })

  it('makes a block of chosen transactions, which submitblock takes once', async () => {
    const made = await call<{ hash: string; hex: string }>('generateblock', ADDRESS, [hexOf(spend(6))], false)
    expect(await call('getbestblockhash')).not.toBe(made.hash)
    expect(await call('submitblock', made.hex)).toBeNull()
    expect(await call('getbestblockhash')).toBe(made.hash)
    expect(await call('submitblock', made.hex)).toBe('duplicate')
    expect((await errorOf('submitblock', '00'))?.code).toBe(-22)
    // More than any block has: hex as long as that once exhausted the stack.
    expect((await errorOf('submitblock', '00'.repeat(5_000_000)))?.code).toBe(-22)
    const block = decodeBlock(hexToBytes(made.hex))
    const headers = Array.from({ length: 100 }, (_, nonce) => ({
      ...block.header,
      previousHash: block.header.merkleRoot as typeof block.header.previousHash,
      nonce,
    }))
    // On regtest every second hash is good enough.
    const worked = headers.find((header) => /^[0-7]/.test(blockHash(header)))!
    const orphan = { ...block, header: worked }
    expect(await call('submitblock', bytesToHex(encodeBlock(orphan)))).toBe('prev-blk-not-found')
  })

  it('gives a template', async () => {
    const tx = spend(7)
    await call('sendrawtransaction', hexOf(tx))
    const template = await call<{ height: number; transactions: object[] }>('getblocktemplate', { rules: ['segwit'] })
    expect(template).toMatchObject({
      previousblockhash: await call('getbestblockhash'),
      bits: '207fffff',
      target: '7fffff0000000000000000000000000000000000000000000000000000000000',
    })
    expect(template.transactions).toContainEqual(expect.objectContaining({ txid: txid(tx), fee: 1000, data: hexOf(tx) }))
    expect((await errorOf('getblocktemplate', {}))?.code).toBe(-8)
  })
})

describe('the node', () => {
  it('tells of itself', async () => {
    expect(await call('getnetworkinfo')).toMatchObject({
      version: 280100,
      subversion: '/Satoshi:28.1.0/Leyden:0.1.0/',
      connections: 0,
    })
    expect(await call('validateaddress', ADDRESS)).toMatchObject({ isvalid: true, address: ADDRESS, witness_version: 0 })
    expect(await call('validateaddress', 'nonsense')).toMatchObject({ isvalid: false })
    expect(await call<string>('help')).toContain('getblockheader')
    expect(await call<string>('help', 'getblock')).toContain('blockhash')
    expect(await call('getdeploymentinfo')).toMatchObject({ deployments: { segwit: { active: true } } })
  })
})
