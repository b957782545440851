import { concat } from '@leyden/codec'
import {
  derFromCompact,
  ecdsaSign,
  pointFromSecret,
  schnorrSign,
  sha256,
  taprootTweakPoint,
  taprootTweakSecret,
  xOnlyFromPoint,
} from '@leyden/crypto'
import {
  p2pkhOf,
  p2tr,
  p2wpkhOf,
  Sat,
  SIGHASH,
  sighashTaproot,
  sighashV0,
  STANDARD_SCRIPT_FLAGS,
  verifyTx,
  withForkId,
  Wtxid,
  type SignatureMemory,
  type Tx,
} from '@leyden/bitcoin'
import { describe, expect, it } from 'vitest'
import { createScriptCache, openScriptCache } from './script-cache.ts'
import { outputOf, pay } from './testing.ts'

const bytesOf = (n: number, length = 32): Uint8Array => sha256(Uint8Array.of(n, n >> 8)).subarray(0, length)
const idOf = (n: number): Wtxid => Wtxid(n.toString(16).padStart(64, '0'))

describe('transactions whose scripts pass', () => {
  it('are known by wtxid and flags, the fork id among them', () => {
    const cache = createScriptCache()
    cache.rememberPassed(idOf(1), STANDARD_SCRIPT_FLAGS)
    expect(cache.hasPassed(idOf(1), STANDARD_SCRIPT_FLAGS)).toBe(true)
    expect(cache.hasPassed(idOf(2), STANDARD_SCRIPT_FLAGS)).toBe(false)
    expect(cache.hasPassed(idOf(1), STANDARD_SCRIPT_FLAGS & ~1)).toBe(false)
    expect(cache.hasPassed(idOf(1), withForkId(STANDARD_SCRIPT_FLAGS, 1))).toBe(false)
  })

  it('are forgotten when there are too many, never invented', () => {
    const cache = createScriptCache(1 << 14)
    for (let n = 0; n < 5000; n++) cache.rememberPassed(idOf(n), 1)
    const known = Array.from({ length: 5000 }, (_, n) => cache.hasPassed(idOf(n), 1))
    const count = known.filter(Boolean).length
    expect(count).toBeGreaterThan(150)
    expect(count).toBeLessThanOrEqual((1 << 14) / 2 / 32)
    expect(known.slice(-5)).toEqual([true, true, true, true, true])
    expect(Array.from({ length: 5000 }, (_, n) => cache.hasPassed(idOf(n + 5000), 1)).includes(true)).toBe(false)
  })
})

describe('signatures that are valid', () => {
  it('are known as the triple they were, by other readers of the memory too, and by nobody with another salt', () => {
    const cache = createScriptCache(1 << 14, bytesOf(9))
    const [hash, key, signature] = [bytesOf(1), bytesOf(2, 32), concat(bytesOf(3), bytesOf(4))]
    const reader = openScriptCache(cache.shared)
    expect(reader.signatures.has('schnorr', hash, key, signature)).toBe(false)
    cache.signatures.add('schnorr', hash, key, signature)
    cache.signatures.add('schnorr', hash, key, signature)
    expect(cache.signatures.has('schnorr', hash, key, signature)).toBe(true)
    expect(reader.signatures.has('schnorr', hash, key, signature)).toBe(true)
    expect(cache.signatures.has('ecdsa', hash, key, signature)).toBe(false)
    expect(cache.signatures.has('schnorr', bytesOf(5), key, signature)).toBe(false)
    expect(cache.signatures.has('schnorr', hash, bytesOf(5), signature)).toBe(false)
    expect(cache.signatures.has('schnorr', hash, key, concat(bytesOf(3), bytesOf(5)))).toBe(false)
    const other = openScriptCache({ memory: cache.shared.memory, salt: bytesOf(8) })
    expect(other.signatures.has('schnorr', hash, key, signature)).toBe(false)
  })

  it('are not checked again by the interpreter; those that are not valid are, and are not kept', () => {
    const secret = bytesOf(7)
    const point = pointFromSecret(secret)
    const prevouts = [
      { value: Sat(5000n), scriptPubKey: p2wpkhOf(point) },
      { value: Sat(6000n), scriptPubKey: p2tr(taprootTweakPoint(xOnlyFromPoint(point)).xonly) },
    ]
    const from = pay([{ txid: idOf(1) as never, vout: 0 }], [5000, 6000])
    const unsigned = pay([outputOf(from, 0), outputOf(from, 1)], [10_000])
    const signed = (value: bigint): Tx => {
      const hash = sighashV0(unsigned, 0, p2pkhOf(point), Sat(value), SIGHASH.all)
      const ecdsa = concat(derFromCompact(ecdsaSign(hash, secret)), Uint8Array.of(SIGHASH.all))
      const taproot = sighashTaproot(unsigned, 1, prevouts, SIGHASH.default)
      const witnesses = [[ecdsa, point], [schnorrSign(taproot, taprootTweakSecret(secret), new Uint8Array(32))]]
      return { ...unsigned, inputs: unsigned.inputs.map((input, i) => ({ ...input, witness: witnesses[i]! })) }
    }
    const cache = createScriptCache()
    const asked: string[] = []
    const memory: SignatureMemory = {
      has: (...triple) => {
        const known = cache.signatures.has(...triple)
        asked.push(`${triple[0]} ${known}`)
        return known
      },
      add: (...triple) => cache.signatures.add(...triple),
    }
    const verify = (tx: Tx) => verifyTx(tx, prevouts, STANDARD_SCRIPT_FLAGS, memory)
    expect(verify(signed(5000n))).toBeUndefined()
    expect(verify(signed(5000n))).toBeUndefined()
    expect(asked).toEqual(['ecdsa false', 'schnorr false', 'ecdsa true', 'schnorr true'])
    asked.length = 0
    for (let times = 0; times < 2; times++) expect(verify(signed(4999n))).toEqual({ inputIndex: 0, error: 'NULLFAIL' })
    expect(asked).toEqual(['ecdsa false', 'ecdsa false'])
  })
})
