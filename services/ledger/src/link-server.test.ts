import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { blockHash, networks, type BlockHash } from '@leyden/bitcoin'
import { linkClient, type ChainEvent } from '@leyden/link'
import { WebSocket } from 'ws'
import { startLedger, type RunningLedger } from './daemon.ts'
import { systemClock } from './system.ts'
import { ANYONE, outputOf, pay } from './testing.ts'

let ledger: RunningLedger
let datadir: string
const start = async (): Promise<RunningLedger> =>
  startLedger({ datadir, rpcPort: 0, linkPort: ledger?.linkPort ?? 0, p2pPort: 0 })

beforeAll(async () => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-link-'))
  ledger = await start()
  await ledger.engine.generateToAddress(101, ANYONE)
})
afterAll(async () => {
  await ledger.stop()
  rmSync(datadir, { recursive: true })
})

const dial = (url: string, credentials: string): Promise<WebSocket> =>
  new Promise((resolve, reject) => {
    const socket = new WebSocket(url, { headers: { authorization: `Basic ${btoa(credentials)}` } })
    socket.on('open', () => resolve(socket))
    socket.on('error', reject)
  })

const follow = () => {
  const client = linkClient({ genesis: blockHash(networks.regtest.genesis.header), clock: systemClock })
  const events: ChainEvent[] = []
  const waiting: (() => void)[] = []
  const onEvent = (event: ChainEvent): void => {
    events.push(event)
    for (const wake of waiting.splice(0)) wake()
  }
  const until = async (matches: (event: ChainEvent) => boolean): Promise<ChainEvent> => {
    for (;;) {
      const found = events.findIndex(matches)
      if (found >= 0) return events.splice(0, found + 1).at(-1) as ChainEvent
      await new Promise<void>((wake) => waiting.push(wake))
    }
  }
  const attach = (socket: WebSocket): void => {
    const end = client.attach({ send: (frame) => socket.send(frame), close: () => socket.close() })
    socket.on('message', (data: Buffer) => end.receive(new Uint8Array(data)))
    socket.on('close', () => end.closed('closed'))
  }
  return { client, events, onEvent, until, attach }
}

describe('the link', () => {
  it('lets nobody in without the token', async () => {
    await expect(dial(ledger.linkUrl, '__cookie__:guess')).rejects.toThrow('401')
    await expect(dial(ledger.linkUrl.replace('/link', '/other'), ledger.credentials)).rejects.toThrow('404')
  })

  it('gives blocks, mempool, broadcasts and fees, and goes on at the cursor after a restart of the ledger', async () => {
    const { client, onEvent, until, attach } = follow()
    const first = await dial(ledger.linkUrl, ledger.credentials)
    attach(first)
    client.start(undefined, onEvent)
    expect(await until(({ type }) => type === 'synced')).toMatchObject({ tip: { height: 101 } })
    const coinbase = (await ledger.engine.blockByHash(ledger.engine.hashAtHeight(1 as never) as BlockHash))!.transactions[0]!
    const tx = pay([outputOf(coinbase)], [4_999_990_000n])
    expect(await client.broadcast([tx])).toEqual({ ok: true })
    expect(await until(({ type }) => type === 'transactionSeen')).toMatchObject({ tx })
    expect((await client.fees()).feeratePerKw[6]).toBe(253)
    await ledger.engine.generateToAddress(1, ANYONE)
    expect(await until(({ type }) => type === 'blockConnected')).toMatchObject({ height: 102 })
    expect(await client.findOutput({ height: 102 as never, transactionIndex: 1, vout: 0 })).toMatchObject({
      outpoint: outputOf(tx),
      unspent: true,
    })
    await ledger.stop()
    await until(({ type }) => type === 'away')
    ledger = await start()
    await ledger.engine.generateToAddress(2, ANYONE)
    attach(await dial(ledger.linkUrl, ledger.credentials))
    expect(await until(({ type }) => type === 'blockConnected')).toMatchObject({ height: 103 })
    expect(await until(({ type }) => type === 'synced')).toMatchObject({ tip: { height: 104 } })
    await client.stop()
  })

  it('ends a connection that sends nonsense, and serves the others', async () => {
    const socket = await dial(ledger.linkUrl, ledger.credentials)
    const closed = new Promise<void>((resolve) => socket.on('close', () => resolve()))
    socket.send(Uint8Array.of(0xc1, 0xff, 0xff, 0xff))
    await closed
    const { client, onEvent, until, attach } = follow()
    attach(await dial(ledger.linkUrl, ledger.credentials))
    client.start(undefined, onEvent)
    expect(await until(({ type }) => type === 'synced')).toMatchObject({ tip: ledger.engine.tip() })
    await client.stop()
  })
})
