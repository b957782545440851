import { bytesToHex, concat, hexToBytes, utf8Encode } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { createHash } from 'node:crypto'
import { hash160, ripemd160, sha1, sha256, sha256d, sha512, taggedHash, useHashes, type Hashes } from './hash.ts'
import { hkdfSha256, hmacSha256, hmacSha512 } from './hmac.ts'

const abc = utf8Encode('abc')

describe('hashes of "abc"', () => {
  it.each([
    ['sha1', sha1, 'a9993e364706816aba3e25717850c26c9cd0d89d'],
    ['ripemd160', ripemd160, '8eb208f7e05d987a9b044a8e98c6b087f15a0bfc'],
    ['sha256', sha256, 'ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad'],
    ['sha256d', sha256d, '4f8b42c22dd3729b519ba6f68d2da7cc5b2d606d05daed5ad5128cc03e6c6358'],
    ['hash160', hash160, 'bb1be98c142444d7a56aa3981c3942a978e4dc33'],
    [
      'sha512',
      sha512,
      'ddaf35a193617abacc417349ae20413112e6fa4e89a97ea20a9eeee64b55d39a2192992a274fc1a836ba3c23a3feebbd454d4423643ce80e2a9ac94fa54ca49f',
    ],
  ])('%s', (_, hash, expected) => {
    expect(bytesToHex(hash(abc))).toBe(expected)
  })

  it('of nothing', () => {
    expect(bytesToHex(sha256(new Uint8Array(0)))).toBe('e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855')
  })
})

describe('tagged hashes', () => {
  const byHand = (tag: Uint8Array, data: Uint8Array): string => bytesToHex(sha256(concat(sha256(tag), sha256(tag), data)))

  it('is SHA-256 of the tag hash twice and the parts', () => {
    for (let times = 0; times < 2; times++)
      expect(bytesToHex(taggedHash('BIP0340/challenge', abc, abc))).toBe(
        byHand(utf8Encode('BIP0340/challenge'), concat(abc, abc)),
      )
    expect(bytesToHex(taggedHash('TapLeaf'))).toBe(byHand(utf8Encode('TapLeaf'), new Uint8Array(0)))
  })

  it('takes a tag of bytes that are not text', () => {
    const tag = concat(utf8Encode('LnNonce'), hexToBytes('0001ff80'))
    expect(bytesToHex(taggedHash(tag, abc))).toBe(byHand(tag, abc))
  })

  it('stays right for more tags than it remembers', () => {
    for (let n = 0; n < 200; n++) expect(bytesToHex(taggedHash(`tag ${n}`, abc))).toBe(byHand(utf8Encode(`tag ${n}`), abc))
  })
})

describe('HMAC: RFC 4231', () => {
  it('case 2: a key shorter than the block', () => {
    const [key, data] = [utf8Encode('Jefe'), utf8Encode('what do ya want for nothing?')]
    expect(bytesToHex(hmacSha256(key, data))).toBe('5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843')
    expect(bytesToHex(hmacSha512(key, data))).toBe(
      '164b7a7bfcf819e2e395fbe73b56e0a387bd64222e831fd610270cd7ea2505549758bf75c05a994a6d034f65f8f0e6fdcaeab1a34d4a6b4b636e070a38bce737',
    )
  })

  it('case 6: a key longer than the block', () => {
    const key = new Uint8Array(131).fill(0xaa)
    expect(bytesToHex(hmacSha256(key, utf8Encode('Test Using Larger Than Block-Size Key - Hash Key First')))).toBe(
      '60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54',
    )
  })
})

describe('HKDF: RFC 5869', () => {
  it('A.1: basic', () => {
    const okm = hkdfSha256(
      new Uint8Array(22).fill(0x0b),
      hexToBytes('000102030405060708090a0b0c'),
      hexToBytes('f0f1f2f3f4f5f6f7f8f9'),
      42,
    )
    expect(bytesToHex(okm)).toBe('3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf34007208d5b887185865')
  })

  it('A.2: longer inputs and output', () => {
    const run = (from: number): Uint8Array => Uint8Array.from({ length: 80 }, (_, i) => from + i)
    expect(bytesToHex(hkdfSha256(run(0), run(0x60), run(0xb0), 82))).toBe(
      'b11e398dc80327a1c8e7f78c596a49344f012eda2d4efad8a050cc4c19afa97c59045a99cac7827271cb41c65e590e09da3275600c2f09b8367793a9aca3db71cc30c58179ec3e87c14c01d5c1f3434f1d87',
    )
  })

  it('A.3: no salt and no info', () => {
    const empty = new Uint8Array(0)
    expect(bytesToHex(hkdfSha256(new Uint8Array(22).fill(0x0b), empty, empty, 42))).toBe(
      '8da4e775a563c18f715f802a063c5a31b8a11f5c5ee1879ec3454e5f3c738d2d9d201395faa4b61a96c8',
    )
  })

  it('refuses more than 255 blocks', () => {
    const key = new Uint8Array(32)
    expect(hkdfSha256(key, key, key, 255 * 32).length).toBe(8160)
    expect(() => hkdfSha256(key, key, key, 255 * 32 + 1)).toThrow('invalid_length')
  })
})

describe('hashes of the platform', () => {
  const hashed = (algorithm: string, data: Uint8Array): Uint8Array => new Uint8Array(createHash(algorithm).update(data).digest())
  let calls = 0
  const platform: Hashes = {
    sha256: (data) => {
      calls++
      return hashed('sha256', data)
    },
    ripemd160: (data) => hashed('ripemd160', data),
  }
  const all = (): string[] =>
    [sha256, sha256d, hash160, ripemd160, (data: Uint8Array) => taggedHash('T', data)].map((hash) => bytesToHex(hash(abc)))

  it('take the place of the others and give the same', () => {
    const before = all()
    useHashes(platform)
    calls = 0
    expect(all()).toEqual(before)
    expect(calls).toBeGreaterThanOrEqual(5)
    const asked = calls
    useHashes()
    expect(all()).toEqual(before)
    expect(calls).toBe(asked)
  })

  it('are refused where they differ', () => {
    const before = all()
    const wrong = { ...platform, sha256: (data: Uint8Array) => hashed('sha256', data.length === 64 ? data.subarray(1) : data) }
    expect(() => useHashes(wrong)).toThrow('self_test_failed')
    expect(() => useHashes({ ...platform, ripemd160: platform.sha256 })).toThrow('self_test_failed')
    expect(all()).toEqual(before)
  })
})
