/**
 * Key expressions of descriptors: a public key, a private key as WIF, or an extended key with a path, each with or without its origin.
 * BIP 380 § Key Expressions; the sentences of refusals are Bitcoin Core's (script/descriptor.cpp).
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { isValidPublicKey, pointFromSecret, pointUncompress } from '@leyden/crypto'
import type { Network } from '../networks.ts'
import { decodeWif } from '../wif.ts'
import {
  decodeExtendedKey,
  deriveChild,
  derivePath,
  encodeExtendedPublicKey,
  fingerprintOf,
  HARDENED,
  pathText,
  type ExtendedKey,
} from './extended-key.ts'

/** A text that is no descriptor. */
export class DescriptorError extends Error {
  constructor(message: string) {
    super(message)
    this.name = 'DescriptorError'
  }
}

/** Where a key comes from: fingerprint of the first key (4 bytes) and the path from it. */
export type KeyOrigin = { readonly fingerprint: Uint8Array; readonly path: readonly number[] }

type Constant = {
  readonly kind: 'constant'
  readonly point: Uint8Array
  readonly xOnly: boolean
  readonly secret: Uint8Array | undefined
}
type Extended = {
  readonly kind: 'extended'
  readonly root: ExtendedKey
  readonly path: readonly number[]
  /** How the key of each position is made from the last one of the path; none where there is one key only. */
  readonly wildcard: 'none' | 'plain' | 'hardened'
}
/** `apostrophe`: how the author marks hardened steps. */
export type KeyExpression = (Constant | Extended) & {
  readonly origin: (KeyOrigin & { readonly apostrophe: boolean }) | undefined
  readonly apostrophe: boolean
}

/** What an expression is at one position. `point` as scripts show it: compressed unless the author gave it otherwise. */
export type DerivedKey = { readonly point: Uint8Array; readonly origin: KeyOrigin; readonly secret: Uint8Array | undefined }

type Steps = { readonly path: number[]; readonly apostrophe: boolean }

const parsePath = (steps: readonly string[], before: boolean): Steps => {
  let apostrophe = before
  const path = steps.map((step) => {
    const hardened = /['h]$/.test(step)
    if (hardened) apostrophe = step.endsWith("'")
    const digits = hardened ? step.slice(0, -1) : step
    if (!/^\d{1,10}$/.test(digits) || Number(digits) > 0xffff_ffff)
      throw new DescriptorError(`Key path value '${digits}' is not a valid uint32`)
    const index = Number(digits)
    if (index >= HARDENED) throw new DescriptorError(`Key path value ${index} is out of range`)
    return hardened ? index + HARDENED : index
  })
  return { path, apostrophe }
}

const HEX = /^(?:[0-9a-fA-F]{2})+$/

/** `taproot`: keys of 32 bytes are taken, and shown so; `uncompressed`: keys of 65 bytes are taken. */
export type KeyContext = { readonly network: Network; readonly taproot: boolean; readonly uncompressed: boolean }

const parseHexKey = (text: string, { taproot, uncompressed }: KeyContext): Constant => {
  const point = hexToBytes(text.toLowerCase())
  if (point.length === 65 && (point[0] === 6 || point[0] === 7)) throw new DescriptorError('Hybrid public keys are not allowed')
  if (isValidPublicKey(point)) {
    if (point.length !== 33 && !uncompressed) throw new DescriptorError('Uncompressed keys are not allowed')
    return { kind: 'constant', point, xOnly: false, secret: undefined }
  }
  const even = Uint8Array.of(2, ...point)
  if (point.length === 32 && taproot && isValidPublicKey(even))
    return { kind: 'constant', point: even, xOnly: true, secret: undefined }
  throw new DescriptorError(`Pubkey '${text}' is invalid`)
}

const parseInner = (
  text: string,
  context: KeyContext,
  marked: boolean,
): (Constant | Extended) & { readonly apostrophe: boolean } => {
  const [first = '', ...steps] = text.split('/')
  if (first === '') throw new DescriptorError('No key provided')
  if (steps.length === 0) {
    if (HEX.test(first)) return { ...parseHexKey(first, context), apostrophe: marked }
    const wif = decodeWif(first, context.network)
    if (!('problem' in wif)) {
      if (!wif.compressed && !context.uncompressed) throw new DescriptorError('Uncompressed keys are not allowed')
      const point = pointFromSecret(wif.secret)
      return {
        kind: 'constant',
        point: wif.compressed ? point : pointUncompress(point),
        xOnly: context.taproot,
        secret: wif.secret,
        apostrophe: marked,
      }
    }
  }
  const root = decodeExtendedKey(first, context.network)
  if (root === undefined) throw new DescriptorError(`key '${first}' is not valid`)
  const last = steps.at(-1)
  const wildcard = last === '*' ? 'plain' : last === "*'" || last === '*h' ? 'hardened' : 'none'
  if (wildcard !== 'none') steps.pop()
  const { path, apostrophe } = parsePath(steps, wildcard === 'hardened' ? last === "*'" : marked)
  return { kind: 'extended', root, path, wildcard, apostrophe }
}

/** Throws {@link DescriptorError}. */
export const parseKeyExpression = (text: string, context: KeyContext): KeyExpression => {
  const parts = text.split(']')
  if (parts.length > 2) throw new DescriptorError("Multiple ']' characters found for a single pubkey")
  if (parts.length === 1) return { ...parseInner(text, context, false), origin: undefined }
  const [before = '', after = ''] = parts
  if (!before.startsWith('['))
    throw new DescriptorError(`Key origin start '[ character expected but not found, got '${before[0] ?? ']'}' instead`)
  const [fingerprint = '', ...steps] = before.slice(1).split('/')
  if (fingerprint.length !== 8)
    throw new DescriptorError(`Fingerprint is not 4 bytes (${fingerprint.length} characters instead of 8 characters)`)
  if (!HEX.test(fingerprint)) throw new DescriptorError(`Fingerprint '${fingerprint}' is not hex`)
  const { path, apostrophe } = parsePath(steps, false)
  const inner = parseInner(after, context, apostrophe)
  return { ...inner, origin: { fingerprint: hexToBytes(fingerprint.toLowerCase()), path, apostrophe: inner.apostrophe } }
}

/** Without anything private. */
export const keyText = (key: KeyExpression, network: Network): string => {
  const origin =
    key.origin === undefined ? '' : `[${bytesToHex(key.origin.fingerprint)}${pathText(key.origin.path, key.origin.apostrophe)}]`
  if (key.kind === 'constant') return origin + bytesToHex(key.xOnly ? key.point.slice(1) : key.point)
  const wildcard = { none: '', plain: '/*', hardened: key.apostrophe ? "/*'" : '/*h' }[key.wildcard]
  return origin + encodeExtendedPublicKey(key.root, network) + pathText(key.path, key.apostrophe) + wildcard
}

export const isRangedKey = (key: KeyExpression): boolean => key.kind === 'extended' && key.wildcard !== 'none'

export const isPrivateKey = (key: KeyExpression): boolean =>
  (key.kind === 'constant' ? key.secret : key.root.secret) !== undefined

/** Bytes of the keys that it makes, in scripts without taproot. */
export const keyLength = (key: KeyExpression): number => (key.kind === 'constant' ? key.point.length : 33)

/** Keys from which those of the positions are derived: the same for all of them. */
const parents = new WeakMap<KeyExpression, ExtendedKey>()

/** The key at a position; undefined where a hardened step needs a secret that is not there. */
export const keyAt = (key: KeyExpression, position: number): DerivedKey | undefined => {
  if (key.kind === 'constant')
    return {
      point: key.point,
      secret: key.secret,
      origin: key.origin ?? { fingerprint: fingerprintOf(key.point), path: [] },
    }
  const parent = parents.get(key) ?? derivePath(key.root, key.path)
  if (parent === undefined) return undefined
  parents.set(key, parent)
  const last = key.wildcard === 'none' ? [] : [key.wildcard === 'plain' ? position : position + HARDENED]
  const [index] = last
  const child = index === undefined ? parent : deriveChild(parent, index)
  if (child === undefined) return undefined
  const before = key.origin ?? { fingerprint: fingerprintOf(key.root.point), path: [] }
  return {
    point: child.point,
    secret: child.secret,
    origin: { fingerprint: before.fingerprint, path: [...before.path, ...key.path, ...last] },
  }
}
