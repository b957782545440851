/** Hashes and ciphers of Node.js, which are those of OpenSSL: several times quicker than JavaScript for what a node does all day. */
import { createCipheriv, createDecipheriv, hash } from 'node:crypto'
import { useCiphers, useHashes } from '@leyden/crypto'

/** The one-shot hash as a string of bytes: quicker to make than a Buffer, which is a view into shared memory besides. */
const hashWith =
  (algorithm: string, length: number) =>
  (data: Uint8Array): Uint8Array => {
    const text = hash(algorithm, data, 'binary')
    const out = new Uint8Array(length)
    for (let i = 0; i < length; i++) out[i] = text.charCodeAt(i)
    return out
  }

const AEAD = 'chacha20-poly1305'
const TAG_BYTES = 16

const encrypt = (key: Uint8Array, nonce: Uint8Array, associatedData: Uint8Array, plaintext: Uint8Array): Uint8Array => {
  const cipher = createCipheriv(AEAD, key, nonce, { authTagLength: TAG_BYTES })
  if (associatedData.length > 0) cipher.setAAD(associatedData, { plaintextLength: plaintext.length })
  const out = new Uint8Array(plaintext.length + TAG_BYTES)
  out.set(cipher.update(plaintext))
  cipher.final()
  out.set(cipher.getAuthTag(), plaintext.length)
  return out
}

const decrypt = (key: Uint8Array, nonce: Uint8Array, associatedData: Uint8Array, ciphertext: Uint8Array): Uint8Array => {
  const length = ciphertext.length - TAG_BYTES
  const cipher = createDecipheriv(AEAD, key, nonce, { authTagLength: TAG_BYTES })
  if (associatedData.length > 0) cipher.setAAD(associatedData, { plaintextLength: length })
  cipher.setAuthTag(ciphertext.subarray(length))
  const out = new Uint8Array(cipher.update(ciphertext.subarray(0, length)))
  cipher.final() // throws where the tag does not match
  return out
}

/** ChaCha20's block counter, from zero, is the first four bytes of what OpenSSL calls the nonce. */
const chacha20 = (key: Uint8Array, nonce: Uint8Array, data: Uint8Array): Uint8Array => {
  const counterAndNonce = new Uint8Array(16)
  counterAndNonce.set(nonce, 4)
  return new Uint8Array(createCipheriv('chacha20', key, counterAndNonce).update(data))
}

/**
 * By Node.js from now on; says what. What it has not got (a strict OpenSSL), or does otherwise than the JavaScript that it is tried
 * against, stays as it was.
 */
export const useNativeCrypto = (): readonly string[] =>
  Object.entries({
    hashes: () => useHashes({ sha256: hashWith('sha256', 32), ripemd160: hashWith('ripemd160', 20) }),
    ciphers: () => useCiphers({ encrypt, decrypt, chacha20 }),
  }).flatMap(([name, use]) => {
    try {
      use()
      return [name]
    } catch {
      return []
    }
  })
