import {
  chacha20,
  chacha20poly1305Decrypt,
  chacha20poly1305Encrypt,
  hash160,
  sha256,
  useCiphers,
  useHashes,
} from '@leyden/crypto'
import { afterAll, expect, it } from 'vitest'
import { useNativeCrypto } from './native-crypto.ts'

afterAll(() => {
  useHashes()
  useCiphers()
})

const bytes = (length: number): Uint8Array => new Uint8Array(length).map((_, i) => i * 7 + length)

it('is taken on this machine, and hashes and encrypts what the JavaScript does', () => {
  const all = (): unknown[] =>
    [0, 31, 300, 1452].map((length) => {
      const sealed = chacha20poly1305Encrypt(bytes(32), bytes(12), bytes(length % 40), bytes(length))
      const opened = chacha20poly1305Decrypt(bytes(32), bytes(12), bytes(length % 40), sealed)
      const data = bytes(length)
      return [sha256(data), hash160(data), sealed, opened, chacha20(bytes(32), bytes(12), data)]
    })
  const before = all()
  expect(useNativeCrypto()).toEqual(['hashes', 'ciphers'])
  expect(all()).toEqual(before)
  expect(chacha20poly1305Decrypt(bytes(32), bytes(12), bytes(0), bytes(300))).toBeUndefined()
})
