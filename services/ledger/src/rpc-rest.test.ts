import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bytesToHex } from '@leyden/codec'
import { blockHash, encodeBlock, encodeHeader, networks, txid } from '@leyden/bitcoin'
import { startLedger, type RunningLedger } from './daemon.ts'

const { genesis } = networks.regtest
const HASH = blockHash(genesis.header)

let ledger: RunningLedger
let datadir: string
const get = (path: string): Promise<Response> => fetch(`${ledger.rpcUrl}/rest/${path}`)
const text = async (path: string): Promise<string> => (await (await get(path)).text()).trim()

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-rest-'))
  ledger = await startLedger({ datadir, rpcPort: 0, linkPort: 0, p2pPort: 0, rest: true })
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

describe('REST', () => {
  it('serves blocks and headers in three formats, without a password', async () => {
    expect(await text(`block/${HASH}.hex`)).toBe(bytesToHex(encodeBlock(genesis)))
    expect(new Uint8Array(await (await get(`headers/${HASH}.bin?count=1`)).arrayBuffer())).toEqual(encodeHeader(genesis.header))
    expect(JSON.parse(await text(`headers/5/${HASH}.json`))).toMatchObject([{ hash: HASH, height: 0 }])
    expect(JSON.parse(await text(`block/notxdetails/${HASH}.json`))).toMatchObject({ tx: [txid(genesis.transactions[0]!)] })
    expect(await text('blockhashbyheight/0.hex')).toBe(HASH)
    expect(JSON.parse(await text('chaininfo.json'))).toMatchObject({ chain: 'regtest', blocks: 0 })
  })

  it('says which outputs are unspent', async () => {
    const answer = JSON.parse(await text(`getutxos/checkmempool/${'1'.repeat(64)}-0.json`)) as object
    expect(answer).toMatchObject({ chainHeight: 0, chaintipHash: HASH, bitmap: '0', utxos: [] })
  })

  it('refuses in the words of bitcoind', async () => {
    const cases: readonly (readonly [string, number, string])[] = [
      ['tx/xyz.json', 400, 'Invalid hash: xyz'],
      [`tx/${'1'.repeat(64)}.json`, 404, `${'1'.repeat(64)} not found`],
      [`block/${HASH}.txt`, 404, 'output format not found (available: .bin, .hex, .json)'],
      [`headers/${HASH}.json?count=2001`, 400, 'Header count is invalid or out of acceptable range (1-2000): 2001'],
      ['blockhashbyheight/9.json', 404, 'Block height out of range'],
      ['getutxos.json', 400, 'Error: empty request'],
      ['getutxos/1-1.json', 400, 'Parse error'],
      [`headers/${HASH}%`, 400, 'URI parsing failed, it likely contained RFC 3986 invalid characters'],
      ['nothing.json', 404, ''],
    ]
    for (const [path, status, message] of cases) {
      const answer = await get(path)
      expect([answer.status, (await answer.text()).trim()]).toEqual([status, message])
    }
  })
})
