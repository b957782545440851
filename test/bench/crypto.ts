/** Curve operations on each backend that loads here, as multiples of the reference in JavaScript; then what has only one form. */
import {
  type BackendName,
  backendName,
  chacha20poly1305Decrypt,
  chacha20poly1305Encrypt,
  ecdh,
  ecdsaSign,
  ecdsaVerify,
  pointFromSecret,
  schnorrSign,
  schnorrVerify,
  sha256,
  useBackend,
  xOnlyFromPoint,
} from '@leyden/crypto'
import { type Figure, heading, measure, type Settings, short, table, times } from './report.ts'

const secret = new Uint8Array(32).fill(0x11)
const hash = sha256(Uint8Array.of(1))
const aux = new Uint8Array(32)

const operations = () => {
  const point = pointFromSecret(secret)
  const xOnly = xOnlyFromPoint(point)
  const ecdsa = ecdsaSign(hash, secret)
  const schnorr = schnorrSign(hash, secret, aux)
  return {
    'ECDSA verify': () => void ecdsaVerify(ecdsa, hash, point),
    'ECDSA sign': () => void ecdsaSign(hash, secret),
    'Schnorr verify': () => void schnorrVerify(schnorr, hash, xOnly),
    'Schnorr sign': () => void schnorrSign(hash, secret, aux),
    ECDH: () => void ecdh(secret, point),
    'point from secret': () => void pointFromSecret(secret),
  }
}

export const benchCrypto = async (settings: Settings): Promise<void> => {
  heading('crypto: microseconds an operation (times faster than noble)')
  const chosen = backendName
  const results = new Map<BackendName, readonly Figure[]>()
  for (const name of ['noble', 'wasm', 'native'] as const) {
    try {
      await useBackend(name)
    } catch {
      continue // not on this machine
    }
    results.set(name, await measure(settings, operations()))
  }
  await useBackend(chosen)
  const reference = results.get('noble') ?? []
  table(
    ['', ...[...results.keys()].map((name) => (name === chosen ? `${name} (in use)` : name))],
    reference.map(({ name, meanUs }, i) => [
      name,
      ...[...results.values()].map((figures) => {
        const us = figures[i]?.meanUs ?? Number.NaN
        return us === meanUs ? short(us) : `${short(us)} (${times(meanUs / us)})`
      }),
    ]),
  )
  const packet = new Uint8Array(1400)
  const key = sha256(Uint8Array.of(2))
  const nonce = new Uint8Array(12)
  const sealed = chacha20poly1305Encrypt(key, nonce, new Uint8Array(0), packet)
  const more = await measure(settings, {
    'SHA-256 of 64 bytes': () => void sha256(packet.subarray(0, 64)),
    'SHA-256 of 1,400 bytes': () => void sha256(packet),
    'ChaCha20-Poly1305 seal 1,400 bytes': () => void chacha20poly1305Encrypt(key, nonce, new Uint8Array(0), packet),
    'ChaCha20-Poly1305 open 1,400 bytes': () => void chacha20poly1305Decrypt(key, nonce, new Uint8Array(0), sealed),
  })
  table(
    ['', 'us'],
    more.map(({ name, meanUs }) => [name, short(meanUs)]),
  )
}
