/**
 * The encrypted transport: Noise_XK in three acts, then length-prefixed messages. BOLT 8.
 * Pure but for the transport's nonces and keys, which live as long as the connection. Ephemeral secrets are given: whoever calls owns
 * the randomness and uses each one once.
 * A key is used 1000 times, two uses a message; the next use is under a new key.
 */
import { concat } from '@leyden/codec'
import {
  chacha20poly1305Decrypt,
  chacha20poly1305Encrypt,
  ecdh,
  hkdfSha256,
  isValidPoint,
  pointFromSecret,
  sha256,
} from '@leyden/crypto'

export const ACT_ONE_BYTES = 50
export const ACT_TWO_BYTES = 50
export const ACT_THREE_BYTES = 66
/** Encrypted length and its tag. */
export const HEADER_BYTES = 18
export const TAG_BYTES = 16
const MAX_MESSAGE_BYTES = 65_535
const KEY_USES = 1000

/** Why a handshake ends. The names follow the spec's test vectors. */
export type HandshakeProblem = {
  readonly problem: `act${1 | 2}_${'bad_length' | 'bad_version' | 'bad_pubkey' | 'bad_tag'}` | `act3_${Act3Problem}`
}
type Act3Problem = 'bad_length' | 'bad_version' | 'bad_ciphertext' | 'bad_pubkey' | 'bad_tag'

/** What a finished handshake leaves: 32-byte keys. */
export type TransportKeys = {
  readonly sendingKey: Uint8Array
  readonly receivingKey: Uint8Array
  readonly chainingKey: Uint8Array
}

const EMPTY = new Uint8Array(0)
const ascii = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0))
const PROTOCOL_HASH = (): Uint8Array => sha256(ascii('Noise_XK_secp256k1_ChaChaPoly_SHA256'))

const nonceOf = (n: number): Uint8Array => {
  const nonce = new Uint8Array(12)
  new DataView(nonce.buffer).setUint32(4, n, true)
  return nonce
}

const hkdfPair = (salt: Uint8Array, ikm: Uint8Array): readonly [Uint8Array, Uint8Array] => {
  const out = hkdfSha256(ikm, salt, EMPTY, 64)
  return [out.slice(0, 32), out.slice(32)]
}

/** Noise's symmetric state: chaining key, handshake hash and the current key. */
const symmetricState = (responderPoint: Uint8Array) => {
  let ck = PROTOCOL_HASH()
  let h = sha256(concat(ck, ascii('lightning')))
  let key: Uint8Array = EMPTY
  const mixHash = (data: Uint8Array): void => {
    h = sha256(concat(h, data))
  }
  mixHash(responderPoint)
  return {
    mixHash,
    mixKey(secret: Uint8Array): void {
      const [nextCk, nextKey] = hkdfPair(ck, secret)
      ck = nextCk
      key = nextKey
    },
    seal(n: number, plaintext: Uint8Array): Uint8Array {
      const ciphertext = chacha20poly1305Encrypt(key, nonceOf(n), h, plaintext)
      mixHash(ciphertext)
      return ciphertext
    },
    open(n: number, ciphertext: Uint8Array): Uint8Array | undefined {
      const plaintext = chacha20poly1305Decrypt(key, nonceOf(n), h, ciphertext)
      if (plaintext !== undefined) mixHash(ciphertext)
      return plaintext
    },
    /** The pair of final keys, initiator's sending key first. */
    split(): { readonly first: Uint8Array; readonly second: Uint8Array; readonly chainingKey: Uint8Array } {
      const [first, second] = hkdfPair(ck, EMPTY)
      return { first, second, chainingKey: ck }
    },
  }
}
type SymmetricState = ReturnType<typeof symmetricState>

const VERSION = Uint8Array.of(0)

const problem = (name: HandshakeProblem['problem']): HandshakeProblem => ({ problem: name })

/** Reads an ephemeral key and its tag: act one and act two are alike. Gives the point, or what is wrong. */
const readEphemeral = (
  state: SymmetricState,
  act: Uint8Array,
  number: 1 | 2,
  secret: Uint8Array,
): Uint8Array | HandshakeProblem => {
  if (act.length !== ACT_ONE_BYTES) return problem(`act${number}_bad_length`)
  if (act[0] !== 0) return problem(`act${number}_bad_version`)
  const remote = act.slice(1, 34)
  if (!isValidPoint(remote)) return problem(`act${number}_bad_pubkey`)
  state.mixHash(remote)
  state.mixKey(ecdh(secret, remote))
  return state.open(0, act.subarray(34)) === undefined ? problem(`act${number}_bad_tag`) : remote
}

const writeEphemeral = (state: SymmetricState, secret: Uint8Array, remote: Uint8Array): Uint8Array => {
  const local = pointFromSecret(secret)
  state.mixHash(local)
  state.mixKey(ecdh(secret, remote))
  return concat(VERSION, local, state.seal(0, EMPTY))
}

export type Initiator = {
  /** 50 bytes to send first. */
  readonly actOne: Uint8Array
  /** Takes the 50 bytes of the answer; gives the last 66 bytes to send and the keys. Called once. */
  readActTwo(actTwo: Uint8Array): { readonly actThree: Uint8Array; readonly keys: TransportKeys } | HandshakeProblem
}

/** The side that connects. Secrets are 32 bytes, `remotePoint` 33. @throws CryptoError if `remotePoint` is no point. */
export const createInitiator = (options: {
  readonly localSecret: Uint8Array
  readonly ephemeralSecret: Uint8Array
  readonly remotePoint: Uint8Array
}): Initiator => {
  const { localSecret, ephemeralSecret, remotePoint } = options
  const state = symmetricState(remotePoint)
  const actOne = writeEphemeral(state, ephemeralSecret, remotePoint)
  return {
    actOne,
    readActTwo(actTwo) {
      const remote = readEphemeral(state, actTwo, 2, ephemeralSecret)
      if (!(remote instanceof Uint8Array)) return remote
      const sealedPoint = state.seal(1, pointFromSecret(localSecret))
      state.mixKey(ecdh(localSecret, remote))
      const tag = state.seal(0, EMPTY)
      const { first, second, chainingKey } = state.split()
      return { actThree: concat(VERSION, sealedPoint, tag), keys: { sendingKey: first, receivingKey: second, chainingKey } }
    },
  }
}

export type Responder = {
  /** Takes 50 bytes; gives the 50 bytes to answer. Called once. */
  readActOne(actOne: Uint8Array): { readonly actTwo: Uint8Array } | HandshakeProblem
  /** Takes 66 bytes; gives the keys and who the initiator is (33 bytes). Called once, after `readActOne`. */
  readActThree(actThree: Uint8Array): { readonly keys: TransportKeys; readonly remotePoint: Uint8Array } | HandshakeProblem
}

/** The side that accepts. Secrets are 32 bytes. */
export const createResponder = (options: {
  readonly localSecret: Uint8Array
  readonly ephemeralSecret: Uint8Array
}): Responder => {
  const { localSecret, ephemeralSecret } = options
  const state = symmetricState(pointFromSecret(localSecret))
  return {
    readActOne(actOne) {
      const remote = readEphemeral(state, actOne, 1, localSecret)
      return remote instanceof Uint8Array ? { actTwo: writeEphemeral(state, ephemeralSecret, remote) } : remote
    },
    readActThree(actThree) {
      if (actThree.length !== ACT_THREE_BYTES) return problem('act3_bad_length')
      if (actThree[0] !== 0) return problem('act3_bad_version')
      const remotePoint = state.open(1, actThree.subarray(1, 50))
      if (remotePoint === undefined) return problem('act3_bad_ciphertext')
      if (!isValidPoint(remotePoint)) return problem('act3_bad_pubkey')
      state.mixKey(ecdh(ephemeralSecret, remotePoint))
      if (state.open(0, actThree.subarray(50)) === undefined) return problem('act3_bad_tag')
      const { first, second, chainingKey } = state.split()
      return { keys: { sendingKey: second, receivingKey: first, chainingKey }, remotePoint }
    },
  }
}

/** One direction's key. BOLT 8 § Lightning Message Key Rotation. */
const createCipher = (firstKey: Uint8Array, firstChainingKey: Uint8Array) => {
  let key = firstKey
  let ck = firstChainingKey
  let n = 0
  const nextNonce = (): Uint8Array => {
    if (n === KEY_USES) {
      const [nextCk, nextKey] = hkdfPair(ck, key)
      ck = nextCk
      key = nextKey
      n = 0
    }
    return nonceOf(n++)
  }
  return {
    encrypt: (plaintext: Uint8Array): Uint8Array => {
      const nonce = nextNonce()
      return chacha20poly1305Encrypt(key, nonce, EMPTY, plaintext)
    },
    decrypt: (ciphertext: Uint8Array): Uint8Array | undefined => {
      const nonce = nextNonce()
      return chacha20poly1305Decrypt(key, nonce, EMPTY, ciphertext)
    },
  }
}

/** Both directions of an established connection. After one undefined answer it is of no more use. */
export type Transport = {
  /** Header and body of one message. @throws RangeError over 65,535 bytes. */
  encrypt(message: Uint8Array): Uint8Array
  /** The length that an 18-byte header holds, or undefined if it is forged. */
  decryptLength(header: Uint8Array): number | undefined
  /** The message in length + 16 bytes, or undefined if it is forged. */
  decryptBody(body: Uint8Array): Uint8Array | undefined
}

export const createTransport = (keys: TransportKeys): Transport => {
  const sending = createCipher(keys.sendingKey, keys.chainingKey)
  const receiving = createCipher(keys.receivingKey, keys.chainingKey)
  return {
    encrypt(message) {
      if (message.length > MAX_MESSAGE_BYTES) throw new RangeError(`message of ${message.length} bytes`)
      const header = sending.encrypt(Uint8Array.of(message.length >> 8, message.length & 0xff))
      return concat(header, sending.encrypt(message))
    },
    decryptLength(header) {
      const length = receiving.decrypt(header)
      return length === undefined ? undefined : ((length[0] ?? 0) << 8) | (length[1] ?? 0)
    },
    decryptBody: (body) => receiving.decrypt(body),
  }
}
