import { bytesToHex, hexToBytes, utf8Encode } from '@leyden/codec'
import * as fc from 'fast-check'
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { describe, expect, it } from 'vitest'
import { chacha20, chacha20poly1305Decrypt, chacha20poly1305Encrypt, useCiphers, type Ciphers } from './cipher.ts'
import { equalConstantTime } from './equal.ts'

const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })

describe('ChaCha20: RFC 8439', () => {
  it('A.1 vector 1: the stream of a zero key', () => {
    expect(bytesToHex(chacha20(new Uint8Array(32), new Uint8Array(12), new Uint8Array(64)))).toBe(
      '76b8e0ada0f13d90405d6ae55386bd28bdd219b8a08ded1aa836efcc8b770dc7da41597c5157488d7724e03fb8d84a376a43b8f41518a11cc387b669b2ee6586',
    )
  })
})

describe('ChaCha20-Poly1305: RFC 8439 § 2.8.2', () => {
  const key = Uint8Array.from({ length: 32 }, (_, i) => 0x80 + i)
  const nonce = hexToBytes('070000004041424344454647')
  const aad = hexToBytes('50515253c0c1c2c3c4c5c6c7')
  const text = utf8Encode(
    "Ladies and Gentlemen of the class of '99: If I could offer you only one tip for the future, sunscreen would be it.",
  )

  it('encrypts and opens', () => {
    const sealed = chacha20poly1305Encrypt(key, nonce, aad, text)
    expect(bytesToHex(sealed)).toBe(
      'd31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d63dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b3692ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc3ff4def08e4b7a9de576d26586cec64b61161ae10b594f09e26a7e902ecbd0600691',
    )
    expect(chacha20poly1305Decrypt(key, nonce, aad, sealed)).toEqual(text)
  })

  it('opens nothing that was changed, and nothing shorter than a tag', () => {
    fc.assert(
      fc.property(bytes(32), bytes(12), fc.uint8Array(), fc.uint8Array({ maxLength: 200 }), fc.nat(), (k, n, ad, plain, at) => {
        const sealed = chacha20poly1305Encrypt(k, n, ad, plain)
        expect(chacha20poly1305Decrypt(k, n, ad, sealed)).toEqual(new Uint8Array(plain))
        const changed = new Uint8Array(sealed)
        changed[at % sealed.length] = (changed[at % sealed.length] as number) ^ (1 << (at % 8))
        expect(chacha20poly1305Decrypt(k, n, ad, changed)).toBeUndefined()
        expect(chacha20poly1305Decrypt(k, n, new Uint8Array([...ad, 0]), sealed)).toBeUndefined()
        expect(chacha20poly1305Decrypt(k, n, ad, sealed.subarray(0, at % 16))).toBeUndefined()
      }),
    )
  })

  it('refuses keys and nonces of another length', () => {
    expect(() => chacha20poly1305Encrypt(key.subarray(1), nonce, aad, text)).toThrow('invalid_length')
    expect(() => chacha20poly1305Decrypt(key, nonce.subarray(1), aad, text)).toThrow('invalid_length')
    expect(() => chacha20(key, new Uint8Array(8), text)).toThrow('invalid_length')
  })
})

describe('equalConstantTime', () => {
  it('is equality', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1 }), fc.nat(), (a, at) => {
        const b = new Uint8Array(a)
        expect(equalConstantTime(a, b)).toBe(true)
        b[at % b.length] = (b[at % b.length] as number) ^ 1
        expect(equalConstantTime(a, b)).toBe(false)
        expect(equalConstantTime(a, a.subarray(1))).toBe(false)
      }),
    )
  })
})

describe('ciphers of the platform', () => {
  const AEAD = 'chacha20-poly1305'
  let calls = 0
  const platform: Ciphers = {
    encrypt: (key, nonce, associatedData, plaintext) => {
      calls++
      const cipher = createCipheriv(AEAD, key, nonce, { authTagLength: 16 })
      cipher.setAAD(associatedData, { plaintextLength: plaintext.length })
      return new Uint8Array(Buffer.concat([cipher.update(plaintext), cipher.final(), cipher.getAuthTag()]))
    },
    decrypt: (key, nonce, associatedData, ciphertext) => {
      calls++
      const end = ciphertext.length - 16
      const cipher = createDecipheriv(AEAD, key, nonce, { authTagLength: 16 })
      cipher.setAAD(associatedData, { plaintextLength: end }).setAuthTag(ciphertext.subarray(end))
      return new Uint8Array(Buffer.concat([cipher.update(ciphertext.subarray(0, end)), cipher.final()]))
    },
    chacha20: (key, nonce, data) => {
      calls++
      return new Uint8Array(createCipheriv('chacha20', key, Buffer.concat([Buffer.alloc(4), nonce])).update(data))
    },
  }
  const [key, nonce, ad] = [new Uint8Array(32).fill(1), new Uint8Array(12).fill(2), new Uint8Array(7).fill(3)]
  const all = (length: number): unknown[] => {
    const data = new Uint8Array(length).map((_, i) => i)
    const sealed = chacha20poly1305Encrypt(key, nonce, ad, data)
    const forged = sealed.with(0, (sealed[0] as number) ^ 1)
    return [
      sealed,
      chacha20poly1305Decrypt(key, nonce, ad, sealed),
      chacha20poly1305Decrypt(key, nonce, ad, forged),
      chacha20(key, nonce, data),
    ]
  }

  it('take the place of the others for long inputs and give the same', () => {
    const [long, short] = [all(1300), all(18)]
    useCiphers(platform)
    calls = 0
    expect(all(18)).toEqual(short)
    expect(calls).toBe(0)
    expect(all(1300)).toEqual(long)
    expect(calls).toBe(4)
    useCiphers()
    expect(all(1300)).toEqual(long)
    expect(calls).toBe(4)
  })

  it('are refused where they differ, or open what was forged', () => {
    const before = all(1300)
    const late = (data: Uint8Array): Uint8Array => (data.length < 1300 ? data : data.slice().reverse())
    for (const wrong of [
      { encrypt: (...args: Parameters<Ciphers['encrypt']>) => late(platform.encrypt(...args)) },
      { chacha20: (...args: Parameters<Ciphers['chacha20']>) => late(platform.chacha20(...args)) },
      { decrypt: (k: Uint8Array, n: Uint8Array, _: Uint8Array, sealed: Uint8Array) => platform.chacha20(k, n, sealed) },
      {
        decrypt: (k: Uint8Array, n: Uint8Array, _: Uint8Array, sealed: Uint8Array) => {
          const counter = Buffer.concat([Uint8Array.of(1, 0, 0, 0), n])
          return new Uint8Array(createCipheriv('chacha20', k, counter).update(sealed.subarray(0, -16)))
        },
      },
    ])
      expect(() => useCiphers({ ...platform, ...wrong })).toThrow('self_test_failed')
    expect(all(1300)).toEqual(before)
  })
})
