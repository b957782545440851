/**
 * Extended keys: BIP 32, as text and derived. Of the wallet's own seed keys.ts of @leyden/wallet knows; here are keys that others name in
 * descriptors, most of them public.
 */
import { createBase58check } from '@scure/base'
import { concat, Reader, Writer } from '@leyden/codec'
import {
  hash160,
  hmacSha512,
  isValidPoint,
  isValidSecret,
  pointFromSecret,
  pointTweakAdd,
  secretAdd,
  sha256,
} from '@leyden/crypto'
import type { Network } from '../networks.ts'

const base58check = createBase58check(sha256)

/** A step of a path from here on is hardened: derived from the secret only. */
export const HARDENED = 0x8000_0000

/** `point` compressed; `secret` where it is known. */
export type ExtendedKey = {
  readonly depth: number
  readonly parentFingerprint: Uint8Array
  readonly index: number
  readonly chainCode: Uint8Array
  readonly point: Uint8Array
  readonly secret: Uint8Array | undefined
}

/** First four bytes of the key's identifier. */
export const fingerprintOf = (point: Uint8Array): Uint8Array => hash160(point).slice(0, 4)

const LENGTH = 78

/** The key of a text of this network; undefined when it is none. Never throws. */
export const decodeExtendedKey = (text: string, { bip32 }: Network): ExtendedKey | undefined => {
  let bytes: Uint8Array
  try {
    bytes = text.length > 120 ? new Uint8Array(0) : base58check.decode(text)
  } catch {
    return undefined
  }
  if (bytes.length !== LENGTH) return undefined
  const reader = new Reader(bytes)
  const version = reader.u32()
  const depth = reader.u8()
  const parentFingerprint = reader.bytes(4)
  const index = reader.u32()
  const chainCode = reader.bytes(32)
  const key = reader.bytes(33)
  if (depth === 0 && (index !== 0 || parentFingerprint.some((byte) => byte !== 0))) return undefined
  if (version === bip32.public && isValidPoint(key))
    return { depth, parentFingerprint, index, chainCode, point: key, secret: undefined }
  const secret = key.slice(1)
  if (version !== bip32.private || key[0] !== 0 || !isValidSecret(secret)) return undefined
  return { depth, parentFingerprint, index, chainCode, point: pointFromSecret(secret), secret }
}

/** The text of a key that is given as its 78 bytes. */
export const extendedKeyText = (bytes: Uint8Array): string => base58check.encode(bytes)

/** Its public form as text. */
export const encodeExtendedPublicKey = (key: ExtendedKey, { bip32 }: Network): string => {
  const writer = new Writer(LENGTH)
  writer.u32(bip32.public)
  writer.u8(key.depth)
  writer.bytes(key.parentFingerprint)
  writer.u32(key.index)
  writer.bytes(key.chainCode)
  writer.bytes(key.point)
  return base58check.encode(writer.finish())
}

/** A child; undefined for a hardened one without the secret. Throws CryptoError in the case of 1 in 2^127 that there is none. */
export const deriveChild = (key: ExtendedKey, index: number): ExtendedKey | undefined => {
  const hardened = index >= HARDENED
  if (hardened && key.secret === undefined) return undefined
  const writer = new Writer(37)
  if (hardened) writer.bytes(concat(Uint8Array.of(0), key.secret as Uint8Array))
  else writer.bytes(key.point)
  writer.u32(index)
  const hash = hmacSha512(key.chainCode, writer.finish())
  const [tweak, chainCode] = [hash.slice(0, 32), hash.slice(32)]
  const fields = { depth: key.depth + 1, parentFingerprint: fingerprintOf(key.point), index, chainCode }
  if (key.secret === undefined) return { ...fields, point: pointTweakAdd(key.point, tweak), secret: undefined }
  const secret = secretAdd(key.secret, tweak)
  return { ...fields, point: pointFromSecret(secret), secret }
}

/** Along a path; undefined where a hardened step has no secret. */
export const derivePath = (key: ExtendedKey, path: readonly number[]): ExtendedKey | undefined => {
  let at: ExtendedKey | undefined = key
  for (const index of path) at = at === undefined ? undefined : deriveChild(at, index)
  return at
}

/** `/0/1h`; hardened steps marked by `h` or, as older texts, by an apostrophe. */
export const pathText = (path: readonly number[], apostrophe = false): string =>
  path.map((index) => `/${index % HARDENED}${index >= HARDENED ? (apostrophe ? "'" : 'h') : ''}`).join('')
