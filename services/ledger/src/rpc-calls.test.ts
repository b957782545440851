import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  descriptorChecksum,
  basicFilter,
  BlockHash,
  decodeBlock,
  decodeTx,
  encodeAddress,
  encodeTx,
  encodeWif,
  filterHeader,
  filterMatches,
  networks,
  p2pkhOf,
  txid,
  type Tx,
} from '@leyden/bitcoin'
import { pointFromSecret } from '@leyden/crypto'
import { startLedger, type RunningLedger } from './daemon.ts'
import { MUHASH_EMPTY, MUHASH_PRIME, muHashElement, muHashFinish, muHashInsert } from './muhash.ts'
import { ANYONE, outputOf, pay } from './testing.ts'

const { regtest } = networks
const ADDRESS = encodeAddress(ANYONE, regtest) as string

let ledger: RunningLedger
let datadir: string
let coinbase: Tx

type Answer = { readonly result: unknown; readonly error: { readonly code: number; readonly message: string } | null }
const ask = async (method: string, params: unknown): Promise<Answer> => {
  const answer = await fetch(ledger.rpcUrl, {
    method: 'POST',
    body: JSON.stringify({ method, params, id: 1 }),
    headers: { authorization: `Basic ${btoa(readFileSync(ledger.cookieFile, 'utf8'))}` },
  })
  return (await answer.json()) as Answer
}
const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
  const { result, error } = await ask(method, params)
  if (error !== null) throw new Error(`${error.code} ${error.message}`)
  return result as T
}
const errorOf = async (method: string, ...params: readonly unknown[]): Promise<Answer['error']> =>
  (await ask(method, params)).error
const send = (tx: Tx): Promise<string> => call('sendrawtransaction', bytesToHex(encodeTx(tx)))

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-calls-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0 })
  const [hash] = await call<string[]>('generatetoaddress', 103, ADDRESS)
  coinbase = decodeBlock(hexToBytes(await call<string>('getblock', hash, 0))).transactions[0]!
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

describe('the UTXO set', () => {
  it('is counted and hashed', async () => {
    const stats = await call<Record<string, unknown>>('gettxoutsetinfo')
    expect(stats).toMatchObject({ height: 103, txouts: 103, transactions: 103, total_amount: 5150, bogosize: 103 * 84 })
    expect(stats['hash_serialized_3']).toMatch(/^[0-9a-f]{64}$/)
    expect(await call('gettxoutsetinfo', 'muhash')).toMatchObject({ muhash: expect.stringMatching(/^[0-9a-f]{64}$/) as string })
    expect(await call('gettxoutsetinfo', 'none')).not.toHaveProperty('muhash')
    expect(await errorOf('gettxoutsetinfo', 'foo')).toEqual({ code: -8, message: "'foo' is not a valid hash_type" })
    expect((await errorOf('gettxoutsetinfo', 'none', 5))?.message).toBe('Querying specific block heights requires coinstatsindex')
  })

  it('hashes sets as Bitcoin Core does', () => {
    // The vector of its unit test: {0} and {1} in, {2} out, each as 32 bytes little-endian.
    const item = (n: number): Uint8Array => Uint8Array.of(n, ...new Uint8Array(31))
    const product = muHashInsert(muHashInsert(MUHASH_EMPTY, item(0)), item(1))
    let inverse = 1n
    let base = muHashElement(item(2)) % MUHASH_PRIME
    for (let exponent = MUHASH_PRIME - 2n; exponent > 0n; exponent >>= 1n) {
      if ((exponent & 1n) === 1n) inverse = (inverse * base) % MUHASH_PRIME
      base = (base * base) % MUHASH_PRIME
    }
    const hash = muHashFinish((product * inverse) % MUHASH_PRIME)
    expect(bytesToHex(hash.reverse())).toBe('10d312b100cbd32ada024a6646e40d3482fcff103668d2625f10002a607d5863')
  })

  it('is searched for scripts', async () => {
    const raw = `raw(${bytesToHex(ANYONE)})`
    for (const one of [raw, `addr(${ADDRESS})`, { desc: `${raw}#${descriptorChecksum(raw)}` }]) {
      const found = await call<{ unspents: object[] }>('scantxoutset', 'start', [one, 'raw(51)'])
      expect(found).toMatchObject({ success: true, txouts: 103, height: 103, total_amount: 5150 })
      expect(found.unspents).toContainEqual({
        txid: txid(coinbase),
        vout: 0,
        scriptPubKey: bytesToHex(ANYONE),
        desc: expect.stringMatching(/^addr\(bcrt1.*\)#.{8}$/) as string,
        amount: 50,
        coinbase: true,
        height: 1,
        blockhash: await call('getblockhash', 1),
        confirmations: 103,
      })
    }
    expect(await call('scantxoutset', 'start', ['raw(6a)'])).toMatchObject({ unspents: [], total_amount: 0 })
    expect(await call('scantxoutset', 'status')).toBeNull()
    expect(await call('scantxoutset', 'abort')).toBe(false)
    expect((await errorOf('scantxoutset', 'start'))?.code).toBe(-1)
    expect((await errorOf('scantxoutset', 'foo'))?.message).toBe("Invalid action 'foo'")
    expect((await errorOf('scantxoutset', 'start', [`${raw}#00000000`]))?.code).toBe(-5)
  })
})

describe('descriptors', () => {
  it('have checksums of BIP 380', async () => {
    expect(descriptorChecksum('raw(deadbeef)')).toBe('89f8spxm')
    expect(await call('getdescriptorinfo', 'raw(DEADBEEF)')).toMatchObject({
      descriptor: 'raw(deadbeef)#89f8spxm',
      isrange: false,
      issolvable: false,
      hasprivatekeys: false,
    })
    expect((await errorOf('getdescriptorinfo', 'raw(deadbeef)#89f8spxx'))?.message).toBe(
      "Provided checksum '89f8spxx' does not match computed checksum '89f8spxm'",
    )
    expect((await errorOf('getdescriptorinfo', 'wpkh(x)'))?.code).toBe(-5)
    const [hash] = await call<string[]>('generatetodescriptor', 1, `addr(${ADDRESS})`)
    expect(await call('submitheader', await call('getblockheader', hash, false))).toBeNull()
    expect((await errorOf('submitheader', '00'.repeat(80)))?.message).toMatch(/^Must submit previous header/)
    expect(await call('getbestblockhash')).toBe(hash)
  })
})

describe('blocks and the mempool', () => {
  it('have relatives, filters and statistics', async () => {
    const parent = pay([outputOf(coinbase)], [2_499_990_000n, 2_500_000_000n])
    const child = pay([outputOf(parent)], [2_499_980_000n])
    await send(parent)
    await send(child)
    expect(await call('getmempoolancestors', txid(child))).toEqual([txid(parent)])
    expect(await call('getmempooldescendants', txid(parent))).toEqual([txid(child)])
    expect(await call('getmempoolancestors', txid(child), true)).toMatchObject({
      [txid(parent)]: { descendantcount: 2, fees: { base: 0.0001, descendant: 0.0002 }, spentby: [txid(child)] },
    })
    expect((await errorOf('getmempooldescendants', '11'.repeat(32)))?.message).toBe('Transaction not in mempool')
    const [hash] = await call<string[]>('generatetoaddress', 1, ADDRESS)

    const stats = await call<Record<string, unknown>>('getblockstats', hash)
    expect(stats).toMatchObject({ txs: 3, ins: 2, outs: 5, totalfee: 20_000, swtxs: 2, subsidy: 5_000_000_000, utxo_increase: 3 })
    expect(stats).toMatchObject({ minfee: 10_000, maxfee: 10_000, medianfee: 10_000, avgfee: 10_000, utxo_increase_actual: 2 })
    expect(Object.keys(stats)).toHaveLength(31)
    expect(await call('getblockstats', stats['height'], ['txs', 'avgfee'])).toEqual({ avgfee: 10_000, txs: 3 })
    expect(await errorOf('getblockstats', 9999)).toEqual({
      code: -8,
      message: `Target block height 9999 after current tip ${String(stats['height'])}`,
    })
    expect(await errorOf('getblockstats', hash, ['foo'])).toEqual({ code: -8, message: "Invalid selected statistic 'foo'" })
    expect(await call('getblockstats', 0)).toMatchObject({ txs: 1, utxo_increase: 1, utxo_increase_actual: 0 })

    const { filter, header } = await call<{ filter: string; header: string }>('getblockfilter', hash)
    const block = decodeBlock(hexToBytes(await call<string>('getblock', hash, 0)))
    const made = basicFilter(block, [{ scriptPubKey: ANYONE }])
    expect(filter).toBe(bytesToHex(made))
    expect(filterMatches(made, BlockHash(hash as string), [ANYONE])).toBe(true)
    const before = await call<{ header: string }>('getblockfilter', block.header.previousHash, 'basic')
    expect(header).toBe(bytesToHex(filterHeader(made, hexToBytes(before.header).reverse()).reverse()))
    expect((await errorOf('getblockfilter', hash, 'extended'))?.message).toBe('Unknown filtertype')

    expect(await call('verifychain', 4, 0)).toBe(true)
    const proof = await call<string>('gettxoutproof', [txid(child), txid(parent)])
    expect(await call('verifytxoutproof', proof)).toEqual([txid(parent), txid(child)])
    expect(await call('verifytxoutproof', `${proof.slice(0, -2)}00`)).toEqual([])
    expect((await errorOf('gettxoutproof', [txid(child)], await call('getblockhash', 1)))?.code).toBe(-5)
    expect((await errorOf('gettxoutproof', []))?.message).toBe("Parameter 'txids' cannot be empty")
    expect(await call('getindexinfo', 'txindex')).toEqual({ txindex: { synced: true, best_block_height: stats['height'] } })
    expect(decodeTx(hexToBytes(await call<string>('getrawtransaction', txid(child))))).toEqual(child)
  })

  it('are judged together as bitcoind does', async () => {
    const block = decodeBlock(hexToBytes(await call<string>('getblock', await call('getblockhash', 2), 0)))
    const first = pay([outputOf(block.transactions[0]!)], [4_999_990_000n])
    const second = pay([outputOf(first)], [4_999_980_000n])
    const wrong = pay([outputOf(first)], [4_999_999_000n])
    const test = (list: readonly Tx[], ...more: unknown[]): Promise<object[]> =>
      call(
        'testmempoolaccept',
        list.map((tx) => bytesToHex(encodeTx(tx))),
        ...more,
      )
    expect(await test([first, second])).toMatchObject([{ allowed: true }, { allowed: true, fees: { base: 0.0001 } }])
    const [blank, refused] = await test([first, wrong])
    expect(Object.keys(blank as object)).toEqual(['txid', 'wtxid'])
    expect(refused).toMatchObject({ allowed: false, 'reject-reason': 'bad-txns-in-belowout' })
    expect(await test([first, second], '0.0001')).toMatchObject([{ 'reject-reason': 'max-fee-exceeded' }, { txid: txid(second) }])
    const problems = await Promise.all(
      [
        [second, first],
        [first, first],
        [first, second, wrong],
      ].map(async (list) => (await test(list))[0]),
    )
    expect(problems).toMatchObject([
      { 'package-error': 'package-not-sorted' },
      { 'package-error': 'package-contains-duplicates' },
      { 'package-error': 'conflict-in-package' },
    ])
  })

  it('give way to one of as much work that is preferred', async () => {
    const heldBack = await call<{ hash: string; hex: string }>('generateblock', ADDRESS, [], false)
    const [first] = await call<string[]>('generatetodescriptor', 1, 'raw(51)')
    expect(await call('submitblock', heldBack.hex)).toBe('inconclusive')
    expect(await call('getbestblockhash')).toBe(first)
    for (const hash of [heldBack.hash, first, heldBack.hash]) {
      expect(await call('preciousblock', hash)).toBeNull()
      expect(await call('getbestblockhash')).toBe(hash)
    }
    await call('preciousblock', await call('getblockhash', 1))
    expect(await call('getbestblockhash')).toBe(heldBack.hash)
    expect(await errorOf('preciousblock', '00'.repeat(32))).toEqual({ code: -5, message: 'Block not found' })
  })

  it('can be waited for', async () => {
    const height = await call<number>('getblockcount')
    const next = call('waitfornewblock', 20_000)
    const higher = call('waitforblockheight', height + 1, 20_000)
    await new Promise((resolve) => setTimeout(resolve, 50))
    expect(await call<{ active_commands: { method: string }[] }>('getrpcinfo')).toMatchObject({
      active_commands: [{ method: 'waitfornewblock' }, { method: 'waitforblockheight' }, { method: 'getrpcinfo' }],
    })
    const [hash] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    const tip = { hash, height: height + 1 }
    expect(await Promise.all([next, higher])).toEqual([tip, tip])
    expect(await call('waitforblock', hash)).toEqual(tip)
    expect(await call('waitforblock', '00'.repeat(32), 1)).toEqual(tip)
    expect((await errorOf('waitfornewblock', -1))?.message).toBe('Negative timeout')
  })
})

describe('tools', () => {
  it('sign and verify messages', async () => {
    const secret = new Uint8Array(32).fill(5)
    const address = encodeAddress(p2pkhOf(pointFromSecret(secret)), regtest)
    const signature = await call<string>('signmessagewithprivkey', encodeWif(secret, regtest), 'This is a message')
    expect(await call('verifymessage', address, signature, 'This is a message')).toBe(true)
    expect(await call('verifymessage', address, signature, 'This is another')).toBe(false)
    // The vector of Bitcoin Core's functional test rpc_signmessagewithprivkey.
    expect(
      await call('signmessagewithprivkey', 'cUeKHd5orzT3mz8P9pxyREHfsWtVfgsfDjiZZBcjUBAaGk1BTj7N', 'This is just a test message'),
    ).toBe('INbVnW4e6PeRmsv2Qgu8NuopvrVjkcxob+sX8OcZG0SALhWybUjzMLPdAsXI46YZGb0KQTRii+wWIQzRpG/U+S0=')
    expect(await errorOf('verifymessage', ADDRESS, signature, '')).toEqual({ code: -3, message: 'Address does not refer to key' })
    expect(await errorOf('verifymessage', address, 'x', '')).toEqual({ code: -3, message: 'Malformed base64 encoding' })
    expect(await errorOf('signmessagewithprivkey', 'x', '')).toEqual({ code: -5, message: 'Invalid private key' })
  })

  it('tell of mining, calls and addresses', async () => {
    expect(await call('getmininginfo')).toMatchObject({
      chain: 'regtest',
      difficulty: 4.656542373906925e-10,
      pooledtx: 0,
      warnings: [],
    })
    expect(await call<number>('getnetworkhashps', -1)).toBeGreaterThan(0)
    expect((await errorOf('getnetworkhashps', 0))?.message).toBe('Invalid nblocks. Must be a positive number or -1.')
    expect(await call('echo', 1, 'a', null, { b: [] })).toEqual([1, 'a', null, { b: [] }])
    expect(await call('getmemoryinfo')).toMatchObject({ locked: { used: 0 } })
    expect(await call('validateaddress', 'x')).toMatchObject({
      isvalid: false,
      error: 'Invalid checksum or length of Base58 address (P2PKH or P2SH)',
    })
    expect(await call('validateaddress', 'bcrt1pfeesnyr2tx')).toEqual({
      isvalid: true,
      address: 'bcrt1pfeesnyr2tx',
      scriptPubKey: '51024e73',
      isscript: true,
      iswitness: true,
    })
    const usage = await errorOf('getblockhash')
    expect(usage?.code).toBe(-1)
    expect(usage?.message).toContain('getblockhash')
  })

  it('let the clock stand still', async () => {
    const later = Math.floor(Date.now() / 1000) + 1000
    await call('setmocktime', later)
    const [hash] = await call<string[]>('generatetoaddress', 1, ADDRESS)
    expect(await call('getblockheader', hash)).toMatchObject({ time: later })
    expect((await errorOf('setmocktime', -1))?.message).toBe('Mocktime must be in the range [0, 9223372036], not -1.')
    await call('setmocktime', 0)
  })

  it('tell of peers', async () => {
    const other = mkdtempSync(join(tmpdir(), 'leyden-peer-'))
    const second = await startLedger({ datadir: other, rpcPort: 0, linkPort: 0, p2pPort: 0 })
    const address = `127.0.0.1:${second.p2pPort}`
    await call('addnode', address, 'add')
    expect(await errorOf('addnode', address, 'add')).toEqual({ code: -23, message: 'Error: Node already added' })
    await expect
      .poll(() => call('getaddednodeinfo', address))
      .toEqual([{ addednode: address, connected: true, addresses: [{ address, connected: 'outbound' }] }])
    await expect
      .poll(() => call<object[]>('getpeerinfo'))
      .toMatchObject([{ addr: address, inbound: false, servicesnames: ['NETWORK', 'WITNESS', 'NETWORK_LIMITED'] }])
    const totals = await call<{ totalbytesrecv: number; totalbytessent: number }>('getnettotals')
    expect(Math.min(totals.totalbytesrecv, totals.totalbytessent)).toBeGreaterThan(0)
    const [{ id }] = (await call<{ id: number }[]>('getpeerinfo')) as [{ id: number }]
    expect(await call('ping')).toBeNull()
    expect(await call('addconnection', address, 'outbound-full-relay', false)).toEqual({
      address,
      connection_type: 'outbound-full-relay',
    })
    expect((await errorOf('addconnection', address, 'stranger', false))?.code).toBe(-8)
    await call('addnode', address, 'remove')
    expect(await call('disconnectnode', '', id)).toBeNull()
    expect(await errorOf('disconnectnode', '', id)).toEqual({ code: -29, message: 'Node not found in connected nodes' })
    expect((await errorOf('disconnectnode', address, 1))?.code).toBe(-32602)
    expect((await errorOf('getaddednodeinfo', address))?.code).toBe(-24)
    await second.stop()
    rmSync(other, { recursive: true })
  })
})
