/**
 * What is published over ZeroMQ, in bitcoind's formats (doc/zmq.md): three parts, the topic, the content, and a count of the messages of
 * that topic, 4 bytes little-endian. Hashes stand in the order in which people read them.
 */
import { concat, utf8Encode } from '@leyden/codec'
import { encodeTx, txid, type Tx } from '@leyden/bitcoin'
import type { HeaderEntry } from '@leyden/ledger'
import type { Log } from '@leyden/runtime'
import type { LedgerEngine } from '../engine.ts'
import { announced, followTip, type TipNews } from '../tip-news.ts'
import { openPublisher, type Publisher } from './publisher.ts'

export const TOPICS = ['hashblock', 'hashtx', 'rawblock', 'rawtx', 'sequence'] as const
export type Topic = (typeof TOPICS)[number]

/** `hwm`: messages that a subscriber may lag behind; 0 for no limit. */
export type Notification = { readonly topic: Topic; readonly address: string; readonly hwm: number }

export type ZmqService = {
  /** Those that are published, by topic. */
  readonly notifications: readonly Notification[]
  close(): Promise<void>
}

type Notifier = { readonly topic: Uint8Array; readonly publisher: Publisher; count: number }

const hashBytes = (hash: string): Uint8Array => new Uint8Array(Buffer.from(hash, 'hex'))

const u32 = (n: number): Uint8Array => {
  const bytes = new Uint8Array(4)
  new DataView(bytes.buffer).setUint32(0, n, true)
  return bytes
}

const u64 = (n: number): Uint8Array => {
  const bytes = new Uint8Array(8)
  new DataView(bytes.buffer).setBigUint64(0, BigInt(n), true)
  return bytes
}

export type ZmqOptions = {
  readonly engine: LedgerEngine
  readonly wanted: readonly Notification[]
  /** While blocks are only caught up with, they are not announced. */
  readonly isInitialDownload: () => boolean
  readonly log: Log
}

/** Opens the sockets, one for each address. An address that cannot be had is left out with a warning, as bitcoind does. */
export const startZmq = async ({ engine, wanted, isInitialDownload, log }: ZmqOptions): Promise<ZmqService> => {
  const publishers = new Map<string, Publisher>()
  const notifiers = new Map<Topic, Notifier[]>()
  const notifications: Notification[] = []
  for (const one of wanted.toSorted((a, b) => TOPICS.indexOf(a.topic) - TOPICS.indexOf(b.topic))) {
    try {
      const publisher = publishers.get(one.address) ?? (await openPublisher(one.address, one.hwm, log))
      publishers.set(one.address, publisher)
      notifiers.set(one.topic, [...(notifiers.get(one.topic) ?? []), { topic: utf8Encode(one.topic), publisher, count: 0 }])
      notifications.push(one)
    } catch (error) {
      log.warn({ topic: one.topic, address: one.address, error: String(error) }, 'ZeroMQ does not publish there')
    }
  }

  const publish = (topic: Topic, content: () => Uint8Array): void => {
    for (const notifier of notifiers.get(topic) ?? []) notifier.publisher.send([notifier.topic, content(), u32(notifier.count++)])
  }
  const publishTx = (tx: Tx): void => {
    publish('hashtx', () => hashBytes(txid(tx)))
    publish('rawtx', () => encodeTx(tx))
  }
  const publishSequence = (hash: string, label: string, mempoolSequence?: number): void =>
    publish('sequence', () =>
      concat(hashBytes(hash), utf8Encode(label), mempoolSequence === undefined ? new Uint8Array(0) : u64(mempoolSequence)),
    )

  const wantsBlocks = ['hashtx', 'rawtx', 'rawblock'].some((topic) => notifiers.has(topic as Topic))
  const publishBlock = async (entry: HeaderEntry, label: 'C' | 'D', isAnnounced: boolean): Promise<void> => {
    publishSequence(entry.hash, label)
    const block = wantsBlocks ? await engine.blockByHash(entry.hash) : undefined
    for (const tx of block?.transactions ?? []) publishTx(tx)
    if (!isAnnounced) return
    publish('hashblock', () => hashBytes(entry.hash))
    const bytes = notifiers.has('rawblock') ? await engine.blockBytes(entry.hash) : undefined
    if (bytes !== undefined) publish('rawblock', () => bytes)
  }

  // Reading blocks takes its time: all news wait in one line, so that none overtakes another.
  let line: Promise<void> = Promise.resolve()
  const inLine = (work: () => Promise<void> | void): void => {
    line = line.then(work).catch((error: unknown) => log.warn({ error: String(error) }, 'not published over ZeroMQ'))
  }

  /** What has happened since the tip that is durable: told once the tip is shown, in the order in which it happened. */
  type Waiting = {
    readonly label?: 'C' | 'D'

    readonly shownWith: HeaderEntry | undefined
    readonly tell: (named: ReadonlySet<HeaderEntry>) => Promise<void> | void
  }
  let waiting: Waiting[] = []
  const happened = (tell: Waiting['tell'], label?: 'C' | 'D', shownWith?: HeaderEntry): void => {
    if (shownWith === undefined && waiting.length === 0) inLine(() => tell(new Set()))
    else waiting.push({ shownWith, tell, ...(label === undefined ? {} : { label }) })
  }
  /** Transactions come back from lost blocks before the blocks that took their place are told of, as in bitcoind. */
  const cameBack = (tell: Waiting['tell']): void => {
    const after = waiting.findLastIndex(({ label }) => label === 'D') + 1
    const since = waiting.slice(after)
    const blocks = since.filter(({ label }) => label === 'C')
    waiting = [...waiting.slice(0, after), ...since.filter(({ label }) => label !== 'C')]
    happened(tell)
    waiting.push(...blocks)
  }
  const shown = (news: TipNews): void => {
    const tip = engine.tipEntry()
    const named = new Set(isInitialDownload() ? [] : announced(news))
    const last = waiting.findLastIndex(({ shownWith }) => shownWith === tip)
    const next = waiting.findIndex(({ shownWith }, i) => i > last && shownWith !== undefined)
    const ready = waiting.slice(0, next < 0 ? waiting.length : next)
    waiting = waiting.slice(ready.length)
    for (const { tell } of ready) inLine(() => tell(named))
    // After an invalidated block the tip is an older one.
    if (news.connected.length === 0 && !isInitialDownload()) inLine(() => publish('hashblock', () => hashBytes(tip.hash)))
  }

  const ends =
    notifications.length === 0
      ? []
      : [
          followTip(engine, shown),
          engine.watchSteps(({ type, entry }) =>
            type === 'connected'
              ? happened((named) => publishBlock(entry, 'C', named.has(entry)), 'C', entry)
              : happened(() => publishBlock(entry, 'D', false), 'D', entry.parent),
          ),
          engine.watchMempool({
            added: (entry, sequence, { fromBlock }) =>
              (fromBlock ? cameBack : happened)(() => {
                publishSequence(entry.txid, 'A', sequence)
                publishTx(entry.tx)
              }),
            removed: (entry, reason, sequence) => {
              if (reason !== 'block') happened(() => publishSequence(entry.txid, 'R', sequence))
            },
          }),
        ]

  return {
    notifications,
    async close() {
      for (const end of ends) end()
      await line
      await Promise.all([...publishers.values()].map((publisher) => publisher.close()))
    },
  }
}
