/** Every backend gives the same answer to the same question, right or wrong: the value, or the code of the error. */
import { bigintToBytesBE, bytesToHex, concat } from '@leyden/codec'
import * as secp from '@noble/secp256k1'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { backendName, useBackend, type BackendName } from './backend.ts'
import { ecdsaRecover, ecdsaSign, ecdsaSignLowR, ecdsaSignRecoverable, ecdsaVerify, ecdsaVerifyLax } from './ecdsa.ts'
import { CryptoError } from './error.ts'
import {
  ecdh,
  isValidPoint,
  isValidPublicKey,
  isValidSecret,
  pointAdd,
  pointCompress,
  pointFromSecret,
  pointMultiply,
  pointTweakAdd,
  secretAdd,
  secretMultiply,
  secretNegate,
} from './point.ts'
import { taggedHash } from './hash.ts'
import { ORDER, negateScalar } from './scalar.ts'
import { schnorrSign, schnorrVerify } from './schnorr.ts'
import { selfTest } from './self-test.ts'
import { taprootTweakPoint, taprootTweakSecret, xOnlyTweakAdd, xOnlyTweakAddCheck } from './taproot.ts'

const ALL: readonly BackendName[] = ['native', 'wasm', 'noble']
const FIELD = 2n ** 256n - 2n ** 32n - 977n

const plain = (value: unknown): unknown => {
  if (value instanceof Uint8Array) return bytesToHex(value)
  if (value !== null && typeof value === 'object') return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, plain(v)]))
  return value
}

const outcome = (run: () => unknown): unknown => {
  try {
    return plain(run())
  } catch (error) {
    if (error instanceof CryptoError) return { error: error.code }
    throw error
  }
}

/** The outcomes of the questions, the same from every backend. */
const agreed = async (...questions: readonly (() => unknown)[]): Promise<unknown[]> => {
  const answers: unknown[][] = []
  for (const name of ALL) {
    await useBackend(name)
    answers.push(questions.map(outcome))
  }
  for (const answer of answers) expect(answer).toEqual(answers[0])
  return answers[0] as unknown[]
}

const runs = { numRuns: 30 }
const bytes = (length: number) => fc.uint8Array({ minLength: length, maxLength: length })
/** Around the edges of n and p, and anywhere. */
const edge = fc
  .tuple(fc.constantFrom(0n, ORDER / 2n, ORDER, FIELD, 2n ** 256n - 1n), fc.integer({ min: -2, max: 2 }))
  .map(([n, d]) => n + BigInt(d))
  .filter((n) => n >= 0n && n < 2n ** 256n)
  .map((n) => bigintToBytesBE(n, 32))
const number32 = fc.oneof({ weight: 2, arbitrary: bytes(32) }, { weight: 1, arbitrary: edge })
const secret = number32.filter(isValidSecret)
const goodPoint = secret.map((s) => secp.getPublicKey(s))
const badPoint = fc.tuple(fc.nat(8), number32).map(([prefix, x]) => concat(Uint8Array.of(prefix), x))
const point = fc.oneof(goodPoint, badPoint)
/** 65 bytes with each prefix, hybrid ones too, of points on the curve and beside it. */
const longKey = fc.tuple(secret, fc.nat(8), fc.boolean()).map(([s, prefix, off]) => {
  const key = secp.getPublicKey(s, false)
  key[0] = prefix
  if (off) key[40] = (key[40] as number) ^ 1
  return key
})

describe('backends', () => {
  it('all three load here, and the native one is chosen', async () => {
    expect(backendName).toBe('native')
    for (const name of ALL) {
      await useBackend(name)
      expect(backendName).toBe(name)
    }
    await expect(useBackend('openssl' as BackendName)).rejects.toThrow('unknown_backend')
  })

  it.each(ALL)('B15: %s passes its self-test', async (name) => {
    await useBackend(name)
    expect(() => selfTest()).not.toThrow()
  })

  it('agree on ECDSA signatures and their verification', async () => {
    await fc.assert(
      fc.asyncProperty(number32, secret, number32, async (hash, key, other) => {
        const [, plainSigned, lowR] = await agreed(
          () => ecdsaSignRecoverable(hash, key),
          () => ecdsaSign(hash, key),
          () => ecdsaSignLowR(hash, key),
        )
        expect(lowR).toMatch(/^[0-7]/)
        expect(plainSigned).toBe(bytesToHex(ecdsaSign(hash, key)))
        const { signature, recoveryId } = ecdsaSignRecoverable(hash, key)
        const high = concat(signature.subarray(0, 32), negateScalar(signature.subarray(32)))
        const wrong = concat(signature.subarray(0, 32), other)
        const signer = secp.getPublicKey(key)
        const answers = await agreed(
          () => ecdsaVerify(signature, hash, signer),
          () => ecdsaVerify(high, hash, signer),
          () => ecdsaVerifyLax(high, hash, signer),
          () => ecdsaVerifyLax(wrong, hash, signer),
          () => ecdsaRecover(signature, recoveryId, hash),
          () => ecdsaRecover(high, recoveryId ^ 1, hash),
        )
        expect(answers).toEqual([true, false, true, false, bytesToHex(signer), bytesToHex(signer)])
      }),
      runs,
    )
  })

  it('agree on what no honest signer made', async () => {
    await fc.assert(
      fc.asyncProperty(number32, number32, number32, fc.oneof(point, longKey), fc.nat(4), async (r, s, hash, key, id) => {
        const signature = concat(r, s)
        const [low, lax] = await agreed(
          () => ecdsaVerify(signature, hash, key),
          () => ecdsaVerifyLax(signature, hash, key),
          () => ecdsaRecover(signature, id, hash),
          () => schnorrVerify(signature, hash, key.subarray(1, 33)),
          () => isValidPoint(key),
          () => isValidPublicKey(key),
          () => pointCompress(key),
        )
        expect(lax === true || low === false).toBe(true)
      }),
      runs,
    )
  })

  it('agree on a forgery for a hash of zero, where R is the key itself', async () => {
    const [zero, one] = [new Uint8Array(32), bigintToBytesBE(1n, 32)]
    const key = concat(Uint8Array.of(2), one)
    expect(await agreed(() => ecdsaVerify(concat(one, one), zero, key))).toEqual([true])
    expect(await agreed(() => ecdsaVerify(concat(one, one), one, key))).toEqual([false])
  })

  it('agree on recovery where R.x is r + n', async () => {
    for (let r = 1n; r < 9n; r++) {
      const signature = concat(bigintToBytesBE(r, 32), bigintToBytesBE(7n, 32))
      const found = await agreed(...[0, 1, 2, 3].map((id) => () => ecdsaRecover(signature, id, bigintToBytesBE(9n, 32))))
      expect(found[0] === undefined).toBe(found[1] === undefined)
      expect(found[2] === undefined).toBe(found[3] === undefined)
    }
  })

  it('agree on uncompressed and hybrid keys', async () => {
    await fc.assert(
      fc.asyncProperty(secret, number32, async (key, hash) => {
        const signature = ecdsaSign(hash, key)
        const long = secp.getPublicKey(key, false)
        const odd = (long[64] as number) & 1
        const answers = await agreed(
          ...[0, 2, 3, 4, 5, 6, 7].map((prefix) => () => {
            long[0] = prefix
            return ecdsaVerifyLax(signature, hash, long)
          }),
        )
        expect(answers).toEqual([false, false, false, true, false, odd === 0, odd === 1])
      }),
      runs,
    )
  })

  it('agree on Schnorr signatures', async () => {
    const message = fc.oneof(bytes(32), fc.uint8Array({ maxLength: 100 }))
    await fc.assert(
      fc.asyncProperty(message, secret, number32, number32, fc.nat(511), async (text, key, aux, other, at) => {
        const [signed] = await agreed(() => schnorrSign(text, key, aux))
        expect(signed).toBe(bytesToHex(schnorrSign(text, key, aux)))
        const signature = schnorrSign(text, key, aux)
        const changed = new Uint8Array(signature)
        changed[at >> 3] = (changed[at >> 3] as number) ^ (1 << (at & 7))
        const xOnly = secp.schnorr.getPublicKey(key)
        const answers = await agreed(
          () => schnorrVerify(signature, text, xOnly),
          () => schnorrVerify(changed, text, xOnly),
          () => schnorrVerify(concat(other, signature.subarray(32)), text, xOnly),
          () => schnorrVerify(concat(signature.subarray(0, 32), other), text, xOnly),
          () => schnorrVerify(signature, text, other),
        )
        expect(answers).toEqual([true, false, false, false, false])
      }),
      runs,
    )
  })

  it('agree on Schnorr signatures at the edges of their numbers', async () => {
    await fc.assert(
      fc.asyncProperty(bytes(32), secret, number32, async (text, key, aux) => {
        const signature = schnorrSign(text, key, aux)
        const r = signature.subarray(0, 32)
        const s = signature.subarray(32)
        const xOnly = secp.schnorr.getPublicKey(key)
        const even = secp.getPublicKey(key)[0] === 2 ? key : secretNegate(key)
        const e = taggedHash('BIP0340/challenge', r, xOnly, text)
        // s = k + e·d; -k + e·d gives the point of the same x and the other y
        const ed = secretMultiply(even, e)
        const otherY = secretAdd(secretAdd(ed, ed), secretNegate(s))
        const answers = await agreed(
          () => schnorrVerify(concat(r, otherY), text, xOnly),
          () => schnorrVerify(concat(r, new Uint8Array(32)), text, xOnly),
          () => schnorrVerify(concat(r, bigintToBytesBE(ORDER, 32)), text, xOnly),
          // An x of a point that is no number below n
          ...[0n, 1n, 2n, 3n, 4n, 5n, 6n, 7n].map((n) => () => schnorrVerify(signature, text, bigintToBytesBE(ORDER + n, 32))),
          () => schnorrVerify(signature, text, new Uint8Array(32)),
        )
        expect(answers).toEqual(answers.map(() => false))
      }),
      runs,
    )
  })

  it('agree on points, secrets and tweaks', async () => {
    await fc.assert(
      fc.asyncProperty(point, point, number32, number32, async (a, b, x, y) => {
        const [valid, , , , product] = await agreed(
          () => isValidPoint(a),
          () => pointFromSecret(x),
          () => pointAdd(a, b),
          () => pointAdd(a, a),
          () => pointMultiply(a, x),
          () => pointTweakAdd(a, x),
          () => ecdh(x, a),
          () => secretAdd(x, y),
          () => secretMultiply(x, y),
          () => secretNegate(x),
          () => taprootTweakPoint(a.subarray(1)),
          () => taprootTweakSecret(x, y),
          () => xOnlyTweakAdd(a.subarray(1), x),
          () => xOnlyTweakAddCheck(b.subarray(1), 0, a.subarray(1), x),
        )
        expect(typeof product === 'string').toBe(valid === true && isValidSecret(x))
      }),
      runs,
    )
  })

  it('agree that sums to nothing have no result', async () => {
    await fc.assert(
      fc.asyncProperty(secret, async (key) => {
        const opposite = negateScalar(key)
        const [a, b] = [secp.getPublicKey(key), secp.getPublicKey(opposite)]
        const answers = await agreed(
          () => pointAdd(a, b),
          () => pointTweakAdd(a, opposite),
          () => secretAdd(key, opposite),
        )
        expect(answers).toEqual([{ error: 'no_result' }, { error: 'no_result' }, { error: 'no_result' }])
      }),
      { numRuns: 10 },
    )
  })
})
