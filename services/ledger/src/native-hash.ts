/** The hash functions of Node.js, which are those of OpenSSL: for every thread of this service. */
import { hash } from 'node:crypto'
import { useHashes } from '@leyden/crypto'

/** The one-shot hash as a string of bytes: quicker to make than a Buffer, which is a view into shared memory besides. */
const hashWith =
  (algorithm: string, length: number) =>
  (data: Uint8Array): Uint8Array => {
    const text = hash(algorithm, data, 'binary')
    const out = new Uint8Array(length)
    for (let i = 0; i < length; i++) out[i] = text.charCodeAt(i)
    return out
  }

const sha256 = hashWith('sha256', 32)

/** Hashes by Node.js from now on. Where it has no RIPEMD-160 (a strict OpenSSL), or does not agree, all stays as it was. */
export const useNativeHashes = (): boolean => {
  try {
    useHashes({ sha256, ripemd160: hashWith('ripemd160', 20) })
    return true
  } catch {
    return false
  }
}
