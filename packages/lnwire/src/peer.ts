/**
 * One connection: handshake, init, messages, liveness. BOLT 8; BOLT 1 § Lightning Message Format, § Setup Messages, § Control Messages.
 * No sockets and no clock: bytes, commands and ticks come in as inputs, what to do goes out as effects, in order. Its state lives as
 * long as the connection and is never stored. Init, ping and pong are handled here and not passed up; errors and warnings are passed up.
 * At most one frame is buffered (65,551 bytes), and its length is authenticated before it is awaited.
 */
import { DecodeError, equalBytes, utf8Encode } from '@leyden/codec'
import type { Init, Ping } from './bolt1.ts'
import {
  combineVectors,
  decodeFeatures,
  encodeFeatures,
  type FeatureProblem,
  type Features,
  negotiateFeatures,
} from './features.ts'
import { decodeMessage, encodeMessage, type Message } from './message.ts'
import {
  ACT_ONE_BYTES,
  ACT_THREE_BYTES,
  ACT_TWO_BYTES,
  createInitiator,
  createResponder,
  createTransport,
  HEADER_BYTES,
  type HandshakeProblem,
  TAG_BYTES,
  type Transport,
  type TransportKeys,
} from './noise.ts'
import { ALL_CHANNELS, type NodeId, nodeIdFromPoint, nodeIdToPoint } from './primitives.ts'

/** From the start to the remote's init. */
export const HANDSHAKE_TIMEOUT_MS = 30_000
/** Silence after which we ping. */
export const PING_AFTER_MS = 30_000
/** Silence after our ping until we give up. */
export const PONG_TIMEOUT_MS = 30_000
/** Pings that we answer in a burst; one more each second. BOLT 1 leaves latitude for network delays. */
export const PING_BURST = 30
/** BOLT 1 § The ping and pong Messages: from here on a ping wants no answer. */
const NO_PONG_FROM = 65_532

export type PeerOptions = {
  /** The static secret, 32 bytes. */
  readonly localSecret: Uint8Array
  /** 32 fresh random bytes, a valid secret, never used before. */
  readonly ephemeralSecret: Uint8Array
  readonly localFeatures: Features
  /** Genesis hash of the one network that we are on, internal order. */
  readonly chainHash: Uint8Array
  /** The remote's address descriptor, told to it in our init (BOLT 7 encoding). */
  readonly remoteAddress?: Uint8Array | undefined
  readonly nowMs: number
} & ({ readonly role: 'initiator'; readonly remoteNodeId: NodeId } | { readonly role: 'responder' })

export type PeerInput =
  | { readonly from: 'peer'; readonly type: 'bytes'; readonly bytes: Uint8Array }
  /** The socket is gone. */
  | { readonly from: 'peer'; readonly type: 'disconnected' }
  | { readonly from: 'owner'; readonly type: 'send'; readonly message: Message }
  /** A message as bytes, type first: gossip is relayed as it was received. */
  | { readonly from: 'owner'; readonly type: 'sendRaw'; readonly raw: Uint8Array }
  | { readonly from: 'owner'; readonly type: 'close' }
  | { readonly from: 'clock'; readonly type: 'tick'; readonly nowMs: number }

export type CloseReason =
  | { readonly code: 'handshake_failed'; readonly problem: HandshakeProblem['problem'] }
  | { readonly code: 'features'; readonly problem: FeatureProblem }
  | { readonly code: 'invalid_message'; readonly typeNumber: number; readonly error: DecodeError }
  | { readonly code: 'unknown_even_message'; readonly typeNumber: number }
  | {
      readonly code:
        | 'handshake_timeout'
        | 'pong_timeout'
        | 'forged'
        | 'no_init'
        | 'second_init'
        | 'no_common_chain'
        | 'ping_flood'
        | 'disconnected'
        | 'closed_by_owner'
    }

export type PeerEffect =
  | { readonly to: 'peer'; readonly type: 'write'; readonly bytes: Uint8Array }
  | { readonly to: 'peer'; readonly type: 'close' }
  /** Both inits were exchanged: from here on messages go both ways. */
  | {
      readonly to: 'owner'
      readonly type: 'ready'
      readonly nodeId: NodeId
      /** What holds between us. */
      readonly features: Features
      readonly remoteFeatures: Features
      readonly remoteInit: Init
    }
  | { readonly to: 'owner'; readonly type: 'message'; readonly message: Message; readonly raw: Uint8Array }
  /** The last effect, once. */
  | { readonly to: 'owner'; readonly type: 'closed'; readonly reason: CloseReason }

export type Peer = {
  /** The first bytes to send: act one of the initiator, nothing of the responder. @throws CryptoError if `remoteNodeId` is no point. */
  start(): readonly PeerEffect[]
  /**
   * Takes one input. Nothing that a peer sends makes it throw.
   * @throws RangeError if the owner sends a message over 65,535 bytes; Error if it sends before `ready`. After the end it sends nothing.
   */
  step(input: PeerInput): readonly PeerEffect[]
}

type Phase =
  | { readonly name: 'act'; readonly read: (act: Uint8Array) => void }
  | { readonly name: 'header'; readonly transport: Transport }
  | { readonly name: 'body'; readonly transport: Transport }
  | { readonly name: 'closed' }

/** A connection that was just made. The service calls `start` once, then `step` for all that happens, with a tick at least every few seconds. */
export const createPeer = (options: PeerOptions): Peer => {
  let effects: PeerEffect[] = []
  let phase: Phase = { name: 'closed' }
  /** Bytes that the phase waits for, and those of them that are here. */
  let wanted = 0
  let buffered: Uint8Array = new Uint8Array(0)
  let have = 0
  let remoteNodeId: NodeId | undefined
  let ready = false
  let nowMs = options.nowMs
  const startedMs = options.nowMs
  let heardMs = options.nowMs
  let pingedMs: number | undefined
  let pingTokens = PING_BURST

  const write = (bytes: Uint8Array): void => {
    effects.push({ to: 'peer', type: 'write', bytes })
  }
  const enter = (next: Phase, bytes: number): void => {
    phase = next
    wanted = bytes
    have = 0
    buffered = new Uint8Array(0)
  }
  const close = (reason: CloseReason): void => {
    if (phase.name === 'closed') return
    enter({ name: 'closed' }, 0)
    if (reason.code !== 'disconnected') effects.push({ to: 'peer', type: 'close' })
    effects.push({ to: 'owner', type: 'closed', reason })
  }
  const sendOver = (transport: Transport, raw: Uint8Array): void => write(transport.encrypt(raw))
  /** A warning about all channels, then the end. BOLT 1 § The error and warning Messages: a warning fails no channel. */
  const warnAndClose = (transport: Transport, text: string, reason: CloseReason): void => {
    sendOver(transport, encodeMessage({ type: 'warning', channelId: ALL_CHANNELS, data: utf8Encode(text) }))
    close(reason)
  }

  const established = (keys: TransportKeys, remotePoint: Uint8Array): void => {
    remoteNodeId = nodeIdFromPoint(remotePoint)
    const transport = createTransport(keys)
    enter({ name: 'header', transport }, HEADER_BYTES)
    const init: Init = {
      type: 'init',
      globalfeatures: new Uint8Array(0),
      features: encodeFeatures(options.localFeatures),
      networks: [options.chainHash],
      ...(options.remoteAddress === undefined ? {} : { remoteAddr: options.remoteAddress }),
    }
    sendOver(transport, encodeMessage(init))
  }
  const failHandshake = ({ problem }: HandshakeProblem): void => close({ code: 'handshake_failed', problem })

  const startInitiator = (remotePoint: Uint8Array): void => {
    const initiator = createInitiator({ ...options, remotePoint })
    write(initiator.actOne)
    const read = (actTwo: Uint8Array): void => {
      const answer = initiator.readActTwo(actTwo)
      if ('problem' in answer) return failHandshake(answer)
      write(answer.actThree)
      established(answer.keys, remotePoint)
    }
    enter({ name: 'act', read }, ACT_TWO_BYTES)
  }
  const startResponder = (): void => {
    const responder = createResponder(options)
    const readThree = (actThree: Uint8Array): void => {
      const end = responder.readActThree(actThree)
      if ('problem' in end) failHandshake(end)
      else established(end.keys, end.remotePoint)
    }
    const readOne = (actOne: Uint8Array): void => {
      const answer = responder.readActOne(actOne)
      if ('problem' in answer) return failHandshake(answer)
      write(answer.actTwo)
      enter({ name: 'act', read: readThree }, ACT_THREE_BYTES)
    }
    enter({ name: 'act', read: readOne }, ACT_ONE_BYTES)
  }

  const receiveInit = (transport: Transport, init: Init): void => {
    const remoteFeatures = decodeFeatures(combineVectors(init.globalfeatures, init.features))
    const features = negotiateFeatures(options.localFeatures, remoteFeatures)
    if ('problem' in features) {
      const text =
        features.problem === 'unknown_required'
          ? `feature bit ${features.bit} is required but not supported`
          : `feature ${features.feature} needs ${features.dependency}`
      return warnAndClose(transport, text, { code: 'features', problem: features })
    }
    if (init.networks !== undefined && !init.networks.some((chain) => equalBytes(chain, options.chainHash)))
      return warnAndClose(transport, 'no common chain', { code: 'no_common_chain' })
    ready = true
    effects.push({ to: 'owner', type: 'ready', nodeId: remoteNodeId as NodeId, features, remoteFeatures, remoteInit: init })
  }

  const receivePing = (transport: Transport, ping: Ping): void => {
    if (pingTokens < 1) return warnAndClose(transport, 'too many pings', { code: 'ping_flood' })
    pingTokens -= 1
    if (ping.numPongBytes < NO_PONG_FROM)
      sendOver(transport, encodeMessage({ type: 'pong', ignored: new Uint8Array(ping.numPongBytes) }))
  }

  const receive = (transport: Transport, raw: Uint8Array): void => {
    const message = decodeMessage(raw)
    if (message instanceof DecodeError) {
      const typeNumber = ((raw[0] ?? 0) << 8) | (raw[1] ?? 0)
      const text = `message ${typeNumber} does not decode: ${message.code}`
      return warnAndClose(transport, text, { code: 'invalid_message', typeNumber, error: message })
    }
    if (!ready) {
      if (message.type === 'init') return receiveInit(transport, message)
      // An error or warning in place of init says why the remote will not have us.
      if (message.type === 'error' || message.type === 'warning') effects.push({ to: 'owner', type: 'message', message, raw })
      return warnAndClose(transport, 'init must come first', { code: 'no_init' })
    }
    if (message.type === 'unknown') {
      const { odd, typeNumber } = message
      if (!odd) warnAndClose(transport, `unknown message ${typeNumber}`, { code: 'unknown_even_message', typeNumber })
    } else if (message.type === 'init') warnAndClose(transport, 'init must come once', { code: 'second_init' })
    else if (message.type === 'ping') receivePing(transport, message)
    else if (message.type === 'pong') pingedMs = undefined
    else effects.push({ to: 'owner', type: 'message', message, raw })
  }

  /** Takes the bytes that the phase waited for. */
  const frame = (bytes: Uint8Array): void => {
    const current = phase
    switch (current.name) {
      case 'act':
        return current.read(bytes)
      case 'header': {
        const length = current.transport.decryptLength(bytes)
        if (length === undefined) return close({ code: 'forged' })
        return enter({ name: 'body', transport: current.transport }, length + TAG_BYTES)
      }
      case 'body': {
        const raw = current.transport.decryptBody(bytes)
        if (raw === undefined) return close({ code: 'forged' })
        enter({ name: 'header', transport: current.transport }, HEADER_BYTES)
        return receive(current.transport, raw)
      }
      case 'closed':
        return
    }
  }

  /** Cuts a chunk into frames. Each byte is copied at most once. */
  const receiveBytes = (chunk: Uint8Array): void => {
    heardMs = nowMs
    let at = 0
    while (at < chunk.length && phase.name !== 'closed') {
      const take = Math.min(wanted - have, chunk.length - at)
      const part = chunk.subarray(at, at + take)
      at += take
      if (take === wanted) {
        frame(part)
        continue
      }
      if (have === 0) buffered = new Uint8Array(wanted)
      buffered.set(part, have)
      have += take
      if (have === wanted) frame(buffered)
    }
  }

  const send = (raw: Uint8Array): void => {
    if (phase.name === 'closed') return
    if (!ready || phase.name === 'act') throw new Error('a message was sent before the connection was ready')
    sendOver(phase.transport, raw)
  }

  const tick = (now: number): void => {
    const elapsed = Math.max(0, now - nowMs)
    nowMs += elapsed
    pingTokens = Math.min(PING_BURST, pingTokens + elapsed / 1000)
    if (phase.name === 'closed') return
    if (!ready || phase.name === 'act') {
      if (nowMs - startedMs > HANDSHAKE_TIMEOUT_MS) close({ code: 'handshake_timeout' })
      return
    }
    if (pingedMs !== undefined) {
      if (nowMs - Math.max(pingedMs, heardMs) > PONG_TIMEOUT_MS) close({ code: 'pong_timeout' })
    } else if (nowMs - heardMs >= PING_AFTER_MS) {
      pingedMs = nowMs
      sendOver(phase.transport, encodeMessage({ type: 'ping', numPongBytes: 0, ignored: new Uint8Array(0) }))
    }
  }

  const take = (): readonly PeerEffect[] => {
    const taken = effects
    effects = []
    return taken
  }

  return {
    start() {
      if (options.role === 'initiator') startInitiator(nodeIdToPoint(options.remoteNodeId))
      else startResponder()
      if (options.role === 'initiator') remoteNodeId = options.remoteNodeId
      return take()
    },
    step(input) {
      switch (input.type) {
        case 'bytes':
          receiveBytes(input.bytes)
          break
        case 'disconnected':
          close({ code: 'disconnected' })
          break
        case 'send':
          send(encodeMessage(input.message))
          break
        case 'sendRaw':
          send(input.raw)
          break
        case 'close':
          close({ code: 'closed_by_owner' })
          break
        case 'tick':
          tick(input.nowMs)
          break
      }
      return take()
    },
  }
}
