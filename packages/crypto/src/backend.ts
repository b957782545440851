/**
 * Which library does the curve arithmetic, chosen once when this package loads: libsecp256k1 as a native addon, else compiled to
 * WebAssembly (tiny-secp256k1), else @noble/secp256k1, which is also the reference that the tests hold the others to.
 * Both fast ones are loaded by a computed name: bundlers leave them out, and a page in a browser runs on the reference.
 * Backends get arguments of checked lengths and may throw anything; the door functions (ecdsa.ts, point.ts, ...) name the error.
 */
import { nobleBackend } from './backend/noble.ts'
import { loadNative } from './backend/native.ts'
import { loadWasm } from './backend/wasm.ts'
import { CryptoError } from './error.ts'

/** Where a backend comes from. */
export type BackendName = 'native' | 'wasm' | 'noble'

/** A 64-byte compact signature with the id (0 to 3) that tells its point R among the candidates. */
export type RecoverableSignature = { readonly signature: Uint8Array; readonly recoveryId: number }

/** One library's curve operations. Points in may have 33 or 65 bytes, points out have 33. Failure is any throw. */
export interface CurveBackend {
  readonly name: BackendName
  isValidPoint(point: Uint8Array): boolean
  pointFromSecret(secret: Uint8Array): Uint8Array
  pointCompress(point: Uint8Array): Uint8Array
  pointAdd(a: Uint8Array, b: Uint8Array): Uint8Array
  pointMultiply(point: Uint8Array, scalar: Uint8Array): Uint8Array
  pointTweakAdd(point: Uint8Array, scalar: Uint8Array): Uint8Array
  secretAdd(a: Uint8Array, b: Uint8Array): Uint8Array
  secretMultiply(a: Uint8Array, b: Uint8Array): Uint8Array
  /** SHA-256 of the compressed shared point. */
  ecdh(secret: Uint8Array, point: Uint8Array): Uint8Array
  /** RFC 6979, low S; `extra` is 32 bytes of additional data (§ 3.6). The hash is below n. */
  ecdsaSign(hash: Uint8Array, secret: Uint8Array, extra: Uint8Array | undefined): RecoverableSignature
  /** Refuses high S. */
  ecdsaVerify(signature: Uint8Array, hash: Uint8Array, point: Uint8Array): boolean
  ecdsaRecover(signature: Uint8Array, recoveryId: number, hash: Uint8Array): Uint8Array
  schnorrSign(message: Uint8Array, secret: Uint8Array, aux: Uint8Array): Uint8Array
  schnorrVerify(signature: Uint8Array, message: Uint8Array, xOnly: Uint8Array): boolean
}

const loaders: Readonly<Record<BackendName, () => Promise<CurveBackend | undefined>>> = {
  native: loadNative,
  wasm: loadWasm,
  noble: () => Promise.resolve(nobleBackend),
}

const fastest = async (): Promise<CurveBackend> => (await loadNative()) ?? (await loadWasm()) ?? nobleBackend

/** The backend in use. A live binding: read it at each call. */
export let backend: CurveBackend = await fastest()

/** Its name, for logs and benchmarks. */
export let backendName: BackendName = backend.name

/** Takes another backend, for tests and benchmarks. Throws {@link CryptoError} `unknown_backend` where it cannot be loaded. */
export const useBackend = async (name: BackendName): Promise<void> => {
  const next = await loaders[name]?.()
  if (next === undefined) throw new CryptoError('unknown_backend', name)
  backend = next
  backendName = next.name
}
