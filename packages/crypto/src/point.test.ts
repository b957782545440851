import { bigintToBytesBE, bytesToHex, concat, hexToBytes } from '@leyden/codec'
import { beforeAll, describe, expect, it } from 'vitest'
import { useBackend } from './backend.ts'
import { sha256 } from './hash.ts'
import {
  ecdh,
  isValidPoint,
  isValidPublicKey,
  isValidSecret,
  isValidXOnly,
  pointAdd,
  pointCompress,
  pointFromSecret,
  pointFromXOnly,
  pointMultiply,
  pointNegate,
  pointTweakAdd,
  secretAdd,
  secretMultiply,
  secretNegate,
  xOnlyFromPoint,
} from './point.ts'
import { randomBytes, randomSecret } from './random.ts'
import { ORDER, negateScalar, reduceScalar } from './scalar.ts'

const scalar = (n: bigint): Uint8Array => bigintToBytesBE(n, 32)
/** SEC 2 § 2.4.1: G, then 2G. */
const G = '0279be667ef9dcbbac55a06295ce870b07029bfcdb2dce28d959f2815b16f81798'
const TWO_G = '02c6047f9441ed7d6d3045406e95c07cd85c778e4b8cef3ca7abac09b95c709ee5'
const G_Y = '483ada7726a3c4655da4fbfc0e1108a8fd17b448a68554199c47d08ffb10d4b8'
const FIELD = 'fffffffffffffffffffffffffffffffffffffffffffffffffffffffefffffc2f'

describe.each(['native', 'wasm', 'noble'] as const)('points, %s', (name) => {
  beforeAll(async () => {
    await useBackend(name)
  })
  const g = hexToBytes(G)
  const twoG = hexToBytes(TWO_G)

  it('come from secrets', () => {
    expect(bytesToHex(pointFromSecret(scalar(1n)))).toBe(G)
    expect(bytesToHex(pointFromSecret(scalar(2n)))).toBe(TWO_G)
    expect(pointFromSecret(scalar(ORDER - 1n))).toEqual(pointNegate(g))
    for (const bad of [scalar(0n), scalar(ORDER), new Uint8Array(31)]) {
      expect(isValidSecret(bad)).toBe(false)
      expect(() => pointFromSecret(bad)).toThrow('invalid_secret')
    }
  })

  it('add, multiply and tweak like numbers', () => {
    expect(pointAdd(g, g)).toEqual(twoG)
    expect(pointAdd(g, twoG)).toEqual(pointFromSecret(scalar(3n)))
    expect(pointMultiply(twoG, scalar(21n))).toEqual(pointFromSecret(scalar(42n)))
    expect(pointTweakAdd(twoG, scalar(40n))).toEqual(pointFromSecret(scalar(42n)))
    expect(pointTweakAdd(twoG, scalar(0n))).toEqual(twoG)
    expect(secretAdd(scalar(2n), scalar(40n))).toEqual(scalar(42n))
    expect(secretAdd(scalar(2n), scalar(0n))).toEqual(scalar(2n))
    expect(secretAdd(scalar(ORDER - 1n), scalar(3n))).toEqual(scalar(2n))
    expect(secretMultiply(scalar(ORDER - 1n), scalar(ORDER - 2n))).toEqual(scalar(2n))
    expect(secretNegate(scalar(2n))).toEqual(scalar(ORDER - 2n))
  })

  it('have no result at infinity and zero', () => {
    expect(() => pointAdd(g, pointNegate(g))).toThrow('no_result')
    expect(() => pointTweakAdd(twoG, scalar(ORDER - 2n))).toThrow('no_result')
    expect(() => secretAdd(scalar(2n), scalar(ORDER - 2n))).toThrow('no_result')
  })

  it('refuse scalars out of range', () => {
    for (const bad of [scalar(ORDER), new Uint8Array(32).fill(255), new Uint8Array(33)]) {
      expect(() => pointMultiply(g, bad)).toThrow('invalid_scalar')
      expect(() => pointTweakAdd(g, bad)).toThrow('invalid_scalar')
      expect(() => secretAdd(scalar(1n), bad)).toThrow('invalid_scalar')
      expect(() => secretMultiply(scalar(1n), bad)).toThrow('invalid_scalar')
    }
    expect(() => pointMultiply(g, scalar(0n))).toThrow('invalid_scalar')
    expect(() => secretMultiply(scalar(1n), scalar(0n))).toThrow('invalid_scalar')
    expect(() => secretNegate(scalar(0n))).toThrow('invalid_secret')
  })

  it('are valid only on the curve and in one form', () => {
    const x = g.subarray(1)
    const y = hexToBytes(G_Y)
    expect(isValidPoint(g)).toBe(true)
    expect(isValidPublicKey(g)).toBe(true)
    for (const prefix of [0, 1, 4, 5, 6, 7, 255]) expect(isValidPoint(concat(Uint8Array.of(prefix), x))).toBe(false)
    expect(isValidPoint(concat(Uint8Array.of(2), scalar(5n)))).toBe(false) // 5 is the x of no point
    expect(isValidPoint(concat(Uint8Array.of(2), scalar(0n)))).toBe(false)
    expect(isValidPoint(concat(Uint8Array.of(2), hexToBytes(FIELD)))).toBe(false)
    expect(isValidPoint(concat(Uint8Array.of(2), bigintToBytesBE(BigInt(`0x${FIELD}`) + 1n, 32)))).toBe(false) // 1 is an x
    expect(isValidPoint(concat(Uint8Array.of(2), scalar(1n)))).toBe(true)
    for (const length of [0, 1, 32, 34, 64, 66]) expect(isValidPublicKey(new Uint8Array(length).fill(2))).toBe(false)

    const long = concat(Uint8Array.of(4), x, y)
    expect(isValidPoint(long)).toBe(false)
    expect(isValidPublicKey(long)).toBe(true)
    expect(isValidPublicKey(concat(Uint8Array.of(6), x, y))).toBe(true)
    expect(isValidPublicKey(concat(Uint8Array.of(7), x, y))).toBe(false)
    expect(isValidPublicKey(concat(Uint8Array.of(4), x, x))).toBe(false)
    expect(isValidPublicKey(concat(Uint8Array.of(4), new Uint8Array(64)))).toBe(false)
    expect(pointCompress(long)).toEqual(g)
    expect(pointCompress(concat(Uint8Array.of(6), x, y))).toEqual(g)
    expect(pointCompress(g)).toEqual(g)
  })

  it('throw invalid_point where they are none', () => {
    const bad = concat(Uint8Array.of(2), scalar(5n))
    for (const run of [
      () => pointAdd(g, bad),
      () => pointAdd(bad, g),
      () => pointMultiply(bad, scalar(2n)),
      () => pointTweakAdd(bad, scalar(2n)),
      () => pointNegate(bad),
      () => pointCompress(bad),
      () => ecdh(scalar(2n), bad),
      () => ecdh(scalar(2n), g.subarray(1)),
      () => pointAdd(g, new Uint8Array(65)),
    ])
      expect(run).toThrow('invalid_point')
  })

  it('have an x-only form', () => {
    expect(xOnlyFromPoint(pointNegate(g))).toEqual(g.slice(1))
    expect(pointFromXOnly(g.subarray(1))).toEqual(g)
    expect(isValidXOnly(g.subarray(1))).toBe(true)
    expect(isValidXOnly(scalar(5n))).toBe(false)
    expect(isValidXOnly(hexToBytes(FIELD))).toBe(false)
    expect(isValidXOnly(g)).toBe(false)
  })

  it('share a secret: BOLT 8 § Appendix A, act one', () => {
    const remote = hexToBytes('028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7')
    const local = new Uint8Array(32).fill(0x12)
    expect(bytesToHex(ecdh(local, remote))).toBe('1e2fb3c8fe8fb9f262f649f64d26ecf0f2c0a805a767cf02dc2d77a6ef1fdcc3')
    expect(ecdh(local, remote)).toEqual(sha256(pointMultiply(remote, local)))
    expect(() => ecdh(scalar(0n), remote)).toThrow('invalid_secret')
  })

  it('come as plain arrays and leave node buffers alone', () => {
    const [a, b] = [Buffer.from(scalar(7n)), Buffer.from(scalar(5n))]
    for (const out of [
      secretAdd(a, b),
      secretMultiply(a, b),
      secretNegate(a),
      pointFromSecret(a),
      ecdh(a, g),
      xOnlyFromPoint(Buffer.from(g)),
    ])
      expect(Object.getPrototypeOf(out)).toBe(Uint8Array.prototype)
    expect(new Uint8Array(a)).toEqual(scalar(7n))
    expect(new Uint8Array(b)).toEqual(scalar(5n))
  })
})

describe('scalars', () => {
  it('are negated and reduced at the edges', () => {
    expect(negateScalar(scalar(0n))).toEqual(scalar(0n))
    expect(negateScalar(scalar(ORDER - 1n))).toEqual(scalar(1n))
    expect(negateScalar(scalar(256n))).toEqual(scalar(ORDER - 256n))
    expect(reduceScalar(scalar(ORDER))).toEqual(scalar(0n))
    expect(reduceScalar(new Uint8Array(32).fill(255))).toEqual(scalar((1n << 256n) - 1n - ORDER))
  })
})

describe('randomness', () => {
  it('B15: comes from the platform, with lengths checked', () => {
    expect(randomBytes(0).length).toBe(0)
    expect(randomBytes(65_536).length).toBe(65_536)
    for (const bad of [-1, 0.5, 65_537]) expect(() => randomBytes(bad)).toThrow('invalid_length')
    const [a, b] = [randomSecret(), randomSecret()]
    expect(isValidSecret(a) && isValidSecret(b)).toBe(true)
    expect(a).not.toEqual(b)
  })
})
