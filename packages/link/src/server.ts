/**
 * The ledger's end of one link session. Frames in, frames out; it ends with its connection and keeps nothing for the next one: the
 * client says where to go on.
 * Back-pressure: only so many events are sent that the client has not acknowledged; then the chain waits for it, and so does the memory.
 */
import type { BlockHash } from '@leyden/bitcoin'
import { DecodeError } from '@leyden/codec'
import type { ChainCursor, ChainEvent, LedgerSource } from './contract.ts'
import { findOutput, follow, type Follower } from './follow.ts'
import { type ClientFrame, decodeClientFrame, encodeServerFrame, LINK_VERSION, type ServerFrame } from './frames.ts'
import { type Line, type LineEnd, type LinkClock, startHeartbeat } from './line.ts'

/** Blocks sent and not yet acknowledged, at most. */
const MAX_BLOCKS_IN_FLIGHT = 16
/** Events of any kind sent and not yet acknowledged, at most. */
const MAX_EVENTS_IN_FLIGHT = 1000
/** Questions of one client being answered at a time. */
const MAX_QUESTIONS = 64
/** A client that has not said hello by then is closed. */
const HELLO_MS = 10_000

export type LinkServerOptions = {
  readonly source: LedgerSource
  /** Hash of block 0: both ends must be of one network. */
  readonly genesis: BlockHash
  readonly line: Line
  readonly clock: LinkClock
  readonly maxBlocksInFlight?: number
}

/** Serves one connection. */
export const linkServer = (options: LinkServerOptions): LineEnd => {
  const { source, line, clock } = options
  const maxBlocks = options.maxBlocksInFlight ?? MAX_BLOCKS_IN_FLIGHT
  let follower: Follower | undefined
  let ended = false
  let questions = 0
  let lastSeq = 0
  let acknowledged = 0
  /** The seq of each block in flight, oldest first. */
  let blocksInFlight: number[] = []
  let roomMade: (() => void) | undefined

  const send = (frame: ServerFrame): void => {
    if (!ended) line.send(encodeServerFrame(frame))
  }
  const end = (): void => {
    if (ended) return
    ended = true
    heartbeat.stop()
    cancelHello()
    roomMade?.()
    void follower?.stop()
  }
  const close = (reason: string): void => {
    if (ended) return
    end()
    line.close(reason)
  }
  const heartbeat = startHeartbeat(
    clock,
    () => send({ type: 'ping' }),
    () => close('silent'),
  )
  const cancelHello = clock.setTimer(HELLO_MS, () => close('no hello'))

  const hasRoom = (): boolean => ended || (blocksInFlight.length < maxBlocks && lastSeq - acknowledged < MAX_EVENTS_IN_FLIGHT)

  const sendEvent = (event: ChainEvent, top: ChainCursor | undefined): void => {
    const seq = ++lastSeq
    switch (event.type) {
      case 'blockConnected':
        blocksInFlight.push(seq)
        return send({ type: 'blockConnected', seq, height: event.height, block: event.block })
      case 'blockDisconnected':
        // There is always a block below: block 0 is never disconnected.
        return send({ ...event, seq, previous: (top as ChainCursor).hash })
      case 'transactionSeen':
        return send({ type: 'transactionSeen', seq, tx: event.tx })
      case 'synced':
        return send({ type: 'synced', seq, tip: event.tip })
      case 'away':
        return send({ type: 'away', seq, reason: event.reason })
      case 'back':
        return send({ type: 'back', seq })
    }
  }
  const onEvent = async (event: ChainEvent, top: ChainCursor | undefined): Promise<void> => {
    while (!hasRoom())
      await new Promise<void>((resolve) => {
        roomMade = resolve
      })
    sendEvent(event, top)
  }

  const hello = (frame: ClientFrame & { readonly type: 'hello' }): void => {
    if (follower !== undefined) return close('a second hello')
    const refusal =
      frame.version !== LINK_VERSION
        ? `version ${LINK_VERSION} is spoken here`
        : frame.genesis !== options.genesis
          ? 'wrong_network'
          : undefined
    if (refusal !== undefined) {
      send({ type: 'refused', reason: refusal })
      return close(refusal)
    }
    cancelHello()
    send({ type: 'welcome', version: LINK_VERSION })
    follower = follow(source, frame.cursor, frame.recent, onEvent)
  }

  const acknowledge = (seq: number): void => {
    if (seq > lastSeq) return close('acknowledged what was not sent')
    acknowledged = Math.max(acknowledged, seq)
    blocksInFlight = blocksInFlight.filter((sent) => sent > acknowledged)
    roomMade?.()
  }

  const answer = async (id: number, work: () => Promise<ServerFrame>): Promise<void> => {
    if (questions >= MAX_QUESTIONS) return send({ type: 'failed', id, reason: 'busy' })
    questions++
    try {
      send(await work())
    } catch (error) {
      send({ type: 'failed', id, reason: (error instanceof Error ? error.message : String(error)).slice(0, 200) })
    } finally {
      questions--
    }
  }

  const handle = (frame: ClientFrame): void => {
    if (follower === undefined && frame.type !== 'hello' && frame.type !== 'ping') return close('hello comes first')
    switch (frame.type) {
      case 'hello':
        return hello(frame)
      case 'ack':
        return acknowledge(frame.seq)
      case 'ping':
        return
      case 'broadcast':
        return void answer(frame.id, async () => ({
          type: 'broadcastResult',
          id: frame.id,
          result: await source.broadcast(frame.transactions),
        }))
      case 'fees':
        return void answer(frame.id, async () => ({ type: 'feesResult', id: frame.id, fees: await source.fees() }))
      case 'findOutput':
        return void answer(frame.id, async () => ({
          type: 'findOutputResult',
          id: frame.id,
          found: await findOutput(source, frame.position),
        }))
    }
  }

  return {
    receive(bytes) {
      if (ended) return
      heartbeat.heard()
      let frame: ClientFrame
      try {
        frame = decodeClientFrame(bytes)
      } catch (error) {
        if (error instanceof DecodeError) return close(error.message)
        throw error
      }
      handle(frame)
    },
    closed: end,
  }
}
