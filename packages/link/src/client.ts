/**
 * The channel service's end of a link: a ChainSource over connections that come and go. The service dials and attaches each new
 * connection; the session goes on behind the last event that the consumer took. What it is told must fit the blocks that it has:
 * a server that skips or forges a step loses the connection, and the consumer never sees it. Ids are computed from the bytes, never
 * taken from the server; a block's transactions are those that its header commits to (B11).
 */
import { blockHash, type BlockHash, type BlockHeight, merkleRoot, txid } from '@leyden/bitcoin'
import { DecodeError, unreachable } from '@leyden/codec'
import { type ChainCursor, type ChainEvent, type ChainSource, LinkAway, type OnChainEvent, RECENT_BLOCKS } from './contract.ts'
import { knownBlocks } from './follow.ts'
import { type ClientFrame, decodeServerFrame, encodeClientFrame, LINK_VERSION, MAX_RECENT, type ServerFrame } from './frames.ts'
import { type Line, type LineEnd, type LinkClock, startHeartbeat } from './line.ts'

/** Events received and not yet taken; a server that sends more ignores the window. */
const MAX_WAITING = 2000

export interface LinkClient extends ChainSource {
  /** Goes on over this connection; one at a time, a later one takes the place of an earlier. */
  attach(line: Line): LineEnd
}

type EventFrame = Extract<ServerFrame, { readonly seq: number }>
type AnswerFrame = Extract<ServerFrame, { readonly id: number }>
type Question = { readonly answered: (frame: AnswerFrame) => void; readonly lost: (reason: string) => void }

/** One connection. */
type Session = {
  readonly line: Line
  readonly questions: Map<number, Question>
  readonly heartbeat: ReturnType<typeof startHeartbeat>
  saidHello: boolean
  welcomed: boolean
}
type Waiting =
  | { readonly session: Session; readonly frame: EventFrame }
  | { readonly session: undefined; readonly event: ChainEvent }

export const linkClient = (options: { readonly genesis: BlockHash; readonly clock: LinkClock }): LinkClient => {
  let known: ChainCursor[] = []
  let onEvent: OnChainEvent | undefined
  let stopped = false
  let session: Session | undefined
  let isAway = false
  let waiting: Waiting[] = []
  let pumping: Promise<void> | undefined
  let nextId = 1

  const send = (to: Session, frame: ClientFrame): void => to.line.send(encodeClientFrame(frame))

  const drop = (lost: Session, reason: string): void => {
    if (session !== lost) return
    session = undefined
    lost.heartbeat.stop()
    for (const { lost: tell } of lost.questions.values()) tell(reason)
    lost.questions.clear()
    waiting = waiting.filter((one) => one.session === undefined)
    goAway(reason)
  }
  const closeFor = (bad: Session, reason: string): void => {
    drop(bad, reason)
    bad.line.close(reason)
  }

  const tell = (event: ChainEvent): void => {
    waiting.push({ session: undefined, event })
    pump()
  }
  const goAway = (reason: string): void => {
    if (onEvent === undefined || isAway || stopped) return
    isAway = true
    tell({ type: 'away', reason })
  }

  const connectTo = (height: BlockHeight, hash: BlockHash, previous: BlockHash): void => {
    const top = known.at(-1)
    if (top !== undefined && (height !== top.height + 1 || previous !== top.hash))
      throw new DecodeError('invalid', 'a block that does not follow the last one')
    known.push({ height, hash })
    if (known.length > 2 * RECENT_BLOCKS) known = known.slice(-RECENT_BLOCKS)
  }
  const disconnect = (height: BlockHeight, hash: BlockHash, previous: BlockHash): void => {
    const top = known.at(-1)
    if (top?.height !== height || top.hash !== hash || height === 0)
      throw new DecodeError('invalid', 'a block disconnected that is not the last one')
    const below = known.at(-2)
    if (below !== undefined && below.hash !== previous) throw new DecodeError('invalid', 'a wrong block below')
    known.pop()
    if (below === undefined) known.push({ height: (height - 1) as BlockHeight, hash: previous })
  }

  /** The event of a frame, after the blocks that we have were brought up to it. Throws DecodeError when it does not fit them. */
  const take = (frame: EventFrame): ChainEvent => {
    switch (frame.type) {
      case 'blockConnected': {
        const { height, block } = frame
        const hash = blockHash(block.header)
        if (merkleRoot(block.transactions.map(txid)) !== block.header.merkleRoot)
          throw new DecodeError('invalid', 'a block with transactions that are not its own')
        connectTo(height, hash, block.header.previousHash)
        return { type: 'blockConnected', height, hash, block }
      }
      case 'blockDisconnected':
        disconnect(frame.height, frame.hash, frame.previous)
        return { type: 'blockDisconnected', height: frame.height, hash: frame.hash }
      case 'transactionSeen':
        return { type: 'transactionSeen', tx: frame.tx }
      case 'synced': {
        const top = known.at(-1)
        if (top === undefined) known.push(frame.tip)
        else if (top.hash !== frame.tip.hash) throw new DecodeError('invalid', 'synced at a block that was not sent')
        return { type: 'synced', tip: frame.tip }
      }
      case 'away':
        return { type: 'away', reason: frame.reason }
      case 'back':
        return { type: 'back' }
      default:
        return unreachable(frame)
    }
  }

  const pumpOne = async (one: Waiting, deliver: OnChainEvent): Promise<void> => {
    if (one.session === undefined) return deliver(one.event)
    if (one.session !== session) return
    let event: ChainEvent
    try {
      event = take(one.frame)
    } catch (error) {
      if (error instanceof DecodeError) return closeFor(one.session, error.message)
      throw error
    }
    await deliver(event)
    if (one.session === session) send(one.session, { type: 'ack', seq: one.frame.seq })
  }
  const shiftWaiting = (): { one: Waiting; deliver: OnChainEvent } | undefined => {
    if (onEvent === undefined || stopped) return undefined
    const one = waiting.shift()
    return one === undefined ? undefined : { one, deliver: onEvent }
  }
  const runPump = async (): Promise<void> => {
    await Promise.resolve()
    for (let next = shiftWaiting(); next !== undefined; next = shiftWaiting()) await pumpOne(next.one, next.deliver)
    pumping = undefined
    sayHello()
  }
  const pump = (): void => {
    if (onEvent !== undefined && !stopped) pumping ??= runPump()
  }

  /** Only when nothing of an earlier session is being taken: the cursor must be the last event taken. */
  const sayHello = (): void => {
    if (session === undefined || session.saidHello || onEvent === undefined || pumping !== undefined || stopped) return
    session.saidHello = true
    const [cursor, ...recent] = known.toReversed()
    send(session, { type: 'hello', version: LINK_VERSION, genesis: options.genesis, cursor, recent: recent.slice(0, MAX_RECENT) })
  }

  const answered = (to: Session, frame: AnswerFrame): void => {
    const question = to.questions.get(frame.id)
    to.questions.delete(frame.id)
    question?.answered(frame) // none: it was answered before
  }

  const handle = (from: Session, frame: ServerFrame): void => {
    if (frame.type === 'ping') return
    if (frame.type === 'refused') return closeFor(from, `refused: ${frame.reason}`)
    if (frame.type === 'welcome') {
      if (frame.version !== LINK_VERSION || !from.saidHello || from.welcomed) return closeFor(from, 'an unexpected welcome')
      from.welcomed = true
      if (isAway) tell({ type: 'back' })
      isAway = false
      return
    }
    if (!from.welcomed) return closeFor(from, 'welcome comes first')
    if ('id' in frame) return answered(from, frame)
    if (waiting.length >= MAX_WAITING) return closeFor(from, 'more events than the window allows')
    waiting.push({ session: from, frame })
    pump()
  }

  const ask = (make: (id: number) => ClientFrame): Promise<AnswerFrame> =>
    new Promise((resolve, reject) => {
      const to = session
      if (to === undefined || !to.welcomed) return reject(new LinkAway('not connected'))
      const id = nextId++
      to.questions.set(id, { answered: resolve, lost: (reason) => reject(new LinkAway(reason)) })
      send(to, make(id))
    })

  return {
    attach(line) {
      if (session !== undefined) closeFor(session, 'a newer connection took its place')
      const mine: Session = {
        line,
        questions: new Map(),
        heartbeat: startHeartbeat(
          options.clock,
          () => send(mine, { type: 'ping' }),
          () => closeFor(mine, 'silent'),
        ),
        saidHello: false,
        welcomed: false,
      }
      session = mine
      sayHello()
      return {
        receive(bytes) {
          if (session !== mine) return
          mine.heartbeat.heard()
          let frame: ServerFrame
          try {
            frame = decodeServerFrame(bytes)
          } catch (error) {
            if (error instanceof DecodeError) return closeFor(mine, error.message)
            throw error
          }
          handle(mine, frame)
        },
        closed: (reason) => drop(mine, reason),
      }
    },
    start(cursor, deliver, recent) {
      if (onEvent !== undefined) throw new Error('a chain source is started once')
      onEvent = deliver
      known = cursor === undefined ? [] : knownBlocks(cursor, recent)
      if (session === undefined) goAway('not connected')
      sayHello()
    },
    async broadcast(transactions) {
      try {
        const frame = await ask((id) => ({ type: 'broadcast', id, transactions }))
        if (frame.type === 'broadcastResult') return frame.result
        return { ok: false, reason: frame.type === 'failed' ? frame.reason : 'a wrong answer', permanent: false }
      } catch (error) {
        if (error instanceof LinkAway) return { ok: false, reason: 'away', permanent: false }
        throw error
      }
    },
    async fees() {
      const frame = await ask((id) => ({ type: 'fees', id }))
      if (frame.type === 'feesResult') return frame.fees
      throw new LinkAway(frame.type === 'failed' ? frame.reason : 'a wrong answer')
    },
    async findOutput(position) {
      const frame = await ask((id) => ({ type: 'findOutput', id, position }))
      if (frame.type === 'findOutputResult') return frame.found
      throw new LinkAway(frame.type === 'failed' ? frame.reason : 'a wrong answer')
    },
    async stop() {
      stopped = true
      if (session !== undefined) closeFor(session, 'stopped')
      waiting = []
      await pumping
    },
  }
}
