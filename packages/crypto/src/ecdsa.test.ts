import { bigintToBytesBE, bytesToHex, concat, hexToBytes, utf8Encode } from '@leyden/codec'
import * as secp from '@noble/secp256k1'
import * as fc from 'fast-check'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend.ts'
import { derFromCompact } from './der.ts'
import { ecdsaRecover, ecdsaSign, ecdsaSignLowR, ecdsaSignRecoverable, ecdsaVerify, ecdsaVerifyLax, hasLowR } from './ecdsa.ts'
import { sha256, sha256d } from './hash.ts'
import { pointFromSecret } from './point.ts'
import { ORDER, negateScalar } from './scalar.ts'

const withHighS = (signature: Uint8Array): Uint8Array => concat(signature.subarray(0, 32), negateScalar(signature.subarray(32)))
const uncompressed = (point: Uint8Array): Uint8Array => secp.Point.fromBytes(point).toBytes(false)
const withPrefix = (prefix: number, point: Uint8Array): Uint8Array => concat(Uint8Array.of(prefix), point.subarray(1))

const secret = hexToBytes('12b004fff7f4b69ef8650e767f18f11ede158148b425660723b9f9a66e61f747')
const point = pointFromSecret(secret)
const hash = sha256(utf8Encode('a message'))

describe.each(['native', 'wasm', 'noble'] as const)('ECDSA, %s', (name) => {
  beforeAll(async () => {
    await useBackend(name)
  })

  it.each([
    [
      1n,
      'Satoshi Nakamoto',
      '934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5',
    ],
    [
      1n,
      'All those moments will be lost in time, like tears in rain. Time to die...',
      '8600dbd41e348fe5c9465ab92d23e3db8b98b873beecd930736488696438cb6b547fe64427496db33bf66019dacbf0039c04199abb0122918601db38a72cfc21',
    ],
    [
      ORDER - 1n,
      'Satoshi Nakamoto',
      'fd567d121db66e382991534ada77a6bd3106f0a1098c231e47993447cd6af2d06b39cd0eb1bc8603e159ef5c20a5c8ad685a45b06ce9bebed3f153d10d93bed5',
    ],
  ])('RFC 6979 signature by %s of "%s"', (n, text, expected) => {
    expect(bytesToHex(ecdsaSign(sha256(utf8Encode(text)), bigintToBytesBE(n, 32)))).toBe(expected)
  })

  it('low-R signatures are those of Bitcoin Core', () => {
    const message = sha256d(utf8Encode('Very deterministic message'))
    const other = hexToBytes('b524c28b61c9b2c49b2c7dd4c2d75887abb78768c054bd7c01af4029f6c0d117')
    expect(bytesToHex(derFromCompact(ecdsaSignLowR(message, secret)))).toBe(
      '304402205dbbddda71772d95ce91cd2d14b592cfbc1dd0aabd6a394b6c2d377bbe59d31d022014ddda21494a4e221f0824f0b8b924c43fa43c0ad57dccdaa11f81a6bd4582f6',
    )
    expect(bytesToHex(derFromCompact(ecdsaSignLowR(message, other)))).toBe(
      '3044022052d8a32079c11e79db95af63bb9600c5b04f21a9ca33dc129c2bfa8ac9dc1cd5022061d8ae5e0f6c1a16bde3719c64c2fd70e404b6428ab9a69566962e8771b5944d',
    )
  })

  it('low-R signatures have at most 70 bytes of DER and verify', () => {
    let ground = 0
    for (let n = 0; n < 12; n++) {
      const message = sha256(Uint8Array.of(n))
      const signature = ecdsaSignLowR(message, secret)
      expect(derFromCompact(signature).length).toBeLessThanOrEqual(70)
      expect(hasLowR(signature)).toBe(true)
      expect(ecdsaVerify(signature, message, point)).toBe(true)
      if (bytesToHex(signature) !== bytesToHex(ecdsaSign(message, secret))) ground++
    }
    expect(ground).toBeGreaterThan(0)
  })

  it('S23: refuses a high-S signature, which only the consensus rule takes', () => {
    const signature = ecdsaSign(hash, secret)
    const high = withHighS(signature)
    expect(ecdsaVerify(signature, hash, point)).toBe(true)
    expect(ecdsaVerify(high, hash, point)).toBe(false)
    expect(ecdsaVerifyLax(high, hash, point)).toBe(true)
    expect(ecdsaVerifyLax(signature, hash, point)).toBe(true)
  })

  it('verifies with uncompressed keys, and with hybrid ones of the right parity', () => {
    const signature = ecdsaSign(hash, secret)
    const long = uncompressed(point)
    const odd = (long[64] as number) & 1
    for (const verify of [ecdsaVerify, ecdsaVerifyLax]) {
      expect(verify(signature, hash, long)).toBe(true)
      expect(verify(signature, hash, withPrefix(6 + odd, long))).toBe(true)
      expect(verify(signature, hash, withPrefix(7 - odd, long))).toBe(false)
      for (const prefix of [0, 1, 2, 3, 5, 8]) expect(verify(signature, hash, withPrefix(prefix, long))).toBe(false)
      for (const prefix of [0, 1, 4, 6, 7, 8]) expect(verify(signature, hash, withPrefix(prefix, point))).toBe(false)
    }
  })

  it('is false for another hash, another key, and R or S of zero or n', () => {
    const signature = ecdsaSign(hash, secret)
    const [r, s] = [signature.subarray(0, 32), signature.subarray(32)]
    const [zero, n, max] = [new Uint8Array(32), bigintToBytesBE(ORDER, 32), new Uint8Array(32).fill(255)]
    expect(ecdsaVerify(signature, sha256(hash), point)).toBe(false)
    expect(ecdsaVerify(signature, hash, pointFromSecret(hash))).toBe(false)
    for (const bad of [zero, n, max])
      for (const verify of [ecdsaVerify, ecdsaVerifyLax]) {
        expect(verify(concat(bad, s), hash, point)).toBe(false)
        expect(verify(concat(r, bad), hash, point)).toBe(false)
        expect(verify(concat(bad, bad), hash, point)).toBe(false)
      }
  })

  it('is false for signatures and keys of another length, and throws for hashes of another length', () => {
    const signature = ecdsaSign(hash, secret)
    expect(ecdsaVerify(signature.subarray(1), hash, point)).toBe(false)
    expect(ecdsaVerify(concat(signature, Uint8Array.of(0)), hash, point)).toBe(false)
    expect(ecdsaVerify(signature, hash, point.subarray(1))).toBe(false)
    expect(ecdsaVerify(signature, hash, new Uint8Array(0))).toBe(false)
    expect(() => ecdsaVerify(signature, hash.subarray(1), point)).toThrow('invalid_length')
    expect(() => ecdsaSign(hash.subarray(1), secret)).toThrow('invalid_length')
  })

  it('does not sign with a secret of zero, of n, or of another length', () => {
    for (const bad of [new Uint8Array(32), bigintToBytesBE(ORDER, 32), new Uint8Array(32).fill(255), secret.subarray(1)])
      for (const sign of [ecdsaSign, ecdsaSignLowR, ecdsaSignRecoverable]) expect(() => sign(hash, bad)).toThrow('invalid_secret')
  })

  it('recovers the point, also from a high S with the other id', () => {
    for (let n = 1; n < 6; n++) {
      const message = sha256(Uint8Array.of(n))
      const { signature, recoveryId } = ecdsaSignRecoverable(message, secret)
      expect(signature).toEqual(ecdsaSign(message, secret))
      expect(ecdsaRecover(signature, recoveryId, message)).toEqual(point)
      expect(ecdsaRecover(signature, recoveryId ^ 1, message)).not.toEqual(point)
      expect(ecdsaRecover(withHighS(signature), recoveryId ^ 1, message)).toEqual(point)
    }
  })

  it('recovers nothing from what is no signature', () => {
    const { signature } = ecdsaSignRecoverable(hash, secret)
    const offCurve = concat(bigintToBytesBE(5n, 32), signature.subarray(32)) // 5 is the x of no point
    for (const [bad, id] of [
      [signature, 4],
      [signature, -1],
      [signature, 0.5],
      [signature, 2], // r + n is not below p
      [signature.subarray(1), 0],
      [new Uint8Array(64), 0],
      [new Uint8Array(64).fill(255), 0],
      [offCurve, 0],
    ] as const)
      expect(ecdsaRecover(bad, id, hash)).toBeUndefined()
  })

  it('returns plain arrays and leaves its arguments alone, node buffers among them', () => {
    const [secretBuffer, hashBuffer] = [Buffer.from(secret), Buffer.from(hash)]
    const signature = ecdsaSign(hashBuffer, secretBuffer)
    expect(Object.getPrototypeOf(signature)).toBe(Uint8Array.prototype)
    expect(ecdsaVerifyLax(Buffer.from(withHighS(signature)), hashBuffer, Buffer.from(point))).toBe(true)
    expect([bytesToHex(secretBuffer), bytesToHex(hashBuffer)]).toEqual([bytesToHex(secret), bytesToHex(hash)])
  })
})

describe('ECDSA signatures', () => {
  it('verify, with low S, for any hash and secret', async () => {
    await useBackend('native')
    const bytes32 = fc.uint8Array({ minLength: 32, maxLength: 32 })
    fc.assert(
      fc.property(bytes32, bytes32, (message, key) => {
        key[0] = 2
        const signature = ecdsaSign(message, key)
        expect(ecdsaVerify(signature, message, pointFromSecret(key))).toBe(true)
        expect(ecdsaVerify(withHighS(signature), message, pointFromSecret(key))).toBe(false)
      }),
    )
  })
})
