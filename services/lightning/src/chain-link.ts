/**
 * The ledger far away: link's client session over WebSocket, dialled again and again until it is stopped.
 * The token is the ledger's cookie file, read at each attempt since a restarted ledger writes a new one.
 */
import { readFileSync } from 'node:fs'
import { ledgerId, type Network } from '@leyden/bitcoin'
import { type ChainSource, linkClient, MAX_FRAME_BYTES } from '@leyden/link'
import { WebSocket } from 'ws'
import type { Log } from './log.ts'
import { systemClock } from './system.ts'
import { reasonOf } from './tcp.ts'

const FIRST_PAUSE_MS = 200
const LONGEST_PAUSE_MS = 10_000
const HANDSHAKE_TIMEOUT_MS = 10_000
/** A connection that held so long counts as one. */
const LASTING_MS = 2_000

export interface ChainLinkOptions {
  /** `ws://host:port` */
  readonly url: string
  readonly cookieFile: string | undefined
  readonly network: Network
  readonly log: Log
}

/** Closes, and does not wait long for the other end to agree. */
const hangUp = (socket: WebSocket): void => {
  socket.close()
  setTimeout(() => socket.terminate(), 1000).unref()
}

/** Begins to dial at once; `start` of the ChainSource may come later. */
export const chainLink = ({ url, cookieFile, network, log }: ChainLinkOptions): ChainSource => {
  const client = linkClient({ genesis: ledgerId(network), clock: systemClock })
  let stopped = false
  let attempts = 0
  let told = false
  let timer: NodeJS.Timeout | undefined
  let socket: WebSocket | undefined

  const authorization = (): Record<string, string> => {
    if (cookieFile === undefined) return {}
    try {
      return { authorization: `Basic ${Buffer.from(readFileSync(cookieFile, 'utf8').trim()).toString('base64')}` }
    } catch {
      return {}
    }
  }

  const again = (reason: string): void => {
    if (stopped) return
    const pause = Math.min(LONGEST_PAUSE_MS, FIRST_PAUSE_MS * 2 ** Math.min(attempts, 10))
    if (!told || attempts % 20 === 0)
      log.warn(
        { ledger: url, reason, retryMs: pause },
        'the ledger is away; payments that wait for the chain go on when it is back',
      )
    told = true
    attempts++
    timer = setTimeout(dial, pause)
  }

  const dial = (): void => {
    const mine = new WebSocket(url, {
      headers: authorization(),
      handshakeTimeout: HANDSHAKE_TIMEOUT_MS,
      maxPayload: MAX_FRAME_BYTES,
      perMessageDeflate: false,
    })
    socket = mine
    let end: ReturnType<typeof client.attach> | undefined
    let reason: string | undefined
    let lasting: NodeJS.Timeout | undefined
    mine.on('open', () => {
      // A ledger that lets us in only to close again is not back.
      lasting = setTimeout(() => {
        attempts = 0
        told = false
        log.info({ ledger: url }, 'connected to the ledger')
      }, LASTING_MS)
      end = client.attach({
        send: (bytes) => {
          if (mine.readyState === WebSocket.OPEN) mine.send(bytes)
        },
        close: (why) => {
          reason ??= why
          hangUp(mine)
        },
      })
    })
    mine.on('message', (data: Buffer) => end?.receive(new Uint8Array(data.buffer, data.byteOffset, data.length)))
    mine.on('error', (error) => {
      reason ??= reasonOf(error)
    })
    mine.on('unexpected-response', (_, response) => {
      reason =
        response.statusCode === 401 || response.statusCode === 403
          ? `it does not know our cookie: ${cookieFile === undefined ? 'name its .cookie file with --ledger-cookie' : `is ${cookieFile} its file?`}`
          : `HTTP ${response.statusCode}: is this the link of a ledger?`
      response.resume()
      mine.terminate()
    })
    mine.on('close', () => {
      clearTimeout(lasting)
      reason ??= 'the connection was closed'
      end?.closed(reason)
      again(reason)
    })
  }
  dial()

  return {
    start: (cursor, onEvent, recent) => client.start(cursor, onEvent, recent),
    broadcast: (transactions) => client.broadcast(transactions),
    fees: () => client.fees(),
    findOutput: (position) => client.findOutput(position),
    async stop() {
      stopped = true
      clearTimeout(timer)
      await client.stop()
      if (socket !== undefined) hangUp(socket)
    },
  }
}
