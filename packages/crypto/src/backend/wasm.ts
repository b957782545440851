/**
 * libsecp256k1 compiled to WebAssembly: tiny-secp256k1, for platforms without a prebuilt addon.
 * It fixes messages to 32 bytes, and its recovery wants the signature's r itself to be on the curve, even where R.x is r + n:
 * those two cases go to the reference.
 */
import type * as TinySecp256k1 from 'tiny-secp256k1'
import type { CurveBackend } from '../backend.ts'
import { sha256 } from '../hash.ts'
import { nobleBackend } from './noble.ts'

type Tiny = typeof TinySecp256k1

/** The library's null (infinity, zero) is a failure like its throws. */
const present = (result: Uint8Array | null): Uint8Array => {
  if (result === null) throw new RangeError('no result')
  return result
}

const wasmBackend = (tiny: Tiny): CurveBackend => ({
  name: 'wasm',
  isValidPoint: (point) => tiny.isPoint(point),
  pointFromSecret: (secret) => present(tiny.pointFromScalar(secret, true)),
  pointCompress: (point) => tiny.pointCompress(point, true),
  pointAdd: (a, b) => present(tiny.pointAdd(a, b, true)),
  pointMultiply: (point, scalar) => present(tiny.pointMultiply(point, scalar, true)),
  pointTweakAdd: (point, scalar) => present(tiny.pointAddScalar(point, scalar, true)),
  secretAdd: (a, b) => present(tiny.privateAdd(a, b)),
  secretMultiply: (a, b) => nobleBackend.secretMultiply(a, b),
  ecdh: (secret, point) => sha256(present(tiny.pointMultiply(point, secret, true))),
  ecdsaSign: (hash, secret, extra) => tiny.signRecoverable(hash, secret, extra),
  ecdsaVerify: (signature, hash, point) => tiny.verify(hash, point, signature, true),
  ecdsaRecover: (signature, recoveryId, hash) =>
    recoveryId === 0 || recoveryId === 1
      ? present(tiny.recover(hash, signature, recoveryId, true))
      : nobleBackend.ecdsaRecover(signature, recoveryId, hash),
  schnorrSign: (message, secret, aux) =>
    message.length === 32 ? tiny.signSchnorr(message, secret, aux) : nobleBackend.schnorrSign(message, secret, aux),
  schnorrVerify: (signature, message, xOnly) =>
    message.length === 32 ? tiny.verifySchnorr(message, xOnly, signature) : nobleBackend.schnorrVerify(signature, message, xOnly),
})

let loaded: CurveBackend | undefined

/** The WebAssembly backend, or undefined where this runtime cannot load it. */
export const loadWasm = async (): Promise<CurveBackend | undefined> => {
  if (loaded !== undefined) return loaded
  const module: string = 'tiny-secp256k1'
  try {
    loaded = wasmBackend((await import(/* @vite-ignore */ module)) as Tiny)
  } catch {
    return undefined
  }
  return loaded
}
