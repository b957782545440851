import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { taggedHash } from './hash.ts'
import { pointFromSecret, xOnlyFromPoint } from './point.ts'
import { schnorrSign, schnorrVerify } from './schnorr.ts'
import { taprootTweakPoint, taprootTweakSecret, xOnlyTweakAddCheck } from './taproot.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const file = `${root}/bitcoin-core/bip341_wallet_vectors.json`
const present = existsSync(file)

type Vectors = {
  scriptPubKey: {
    given: { internalPubkey: string }
    intermediary: { merkleRoot: string | null; tweak: string; tweakedPubkey: string }
    expected: { scriptPathControlBlocks?: string[] }
  }[]
  keyPathSpending: {
    inputSpending: {
      given: { internalPrivkey: string; merkleRoot: string | null }
      intermediary: { internalPubkey: string; tweakedPrivkey: string }
    }[]
  }[]
}
const vectors: Vectors = present ? JSON.parse(readFileSync(file, 'utf8')) : { scriptPubKey: [], keyPathSpending: [] }
const optional = (hex: string | null): Uint8Array | undefined => (hex === null ? undefined : hexToBytes(hex))

describe.skipIf(!present)(`BIP 341 wallet vectors (skipped where ${file} is absent)`, () => {
  it.each(vectors.scriptPubKey)('output key of $given.internalPubkey', ({ given, intermediary, expected }) => {
    const internal = hexToBytes(given.internalPubkey)
    const output = taprootTweakPoint(internal, optional(intermediary.merkleRoot))
    expect(bytesToHex(output.xonly)).toBe(intermediary.tweakedPubkey)
    for (const block of expected.scriptPathControlBlocks ?? []) expect(output.parity).toBe((hexToBytes(block)[0] as number) & 1)
    const tweak = hexToBytes(intermediary.tweak)
    expect(xOnlyTweakAddCheck(output.xonly, output.parity, internal, tweak)).toBe(true)
    expect(xOnlyTweakAddCheck(output.xonly, 1 - output.parity, internal, tweak)).toBe(false)
    expect(xOnlyTweakAddCheck(internal, output.parity, internal, tweak)).toBe(false)
  })

  it.each(vectors.keyPathSpending.flatMap((spending) => spending.inputSpending))(
    'output secret for $intermediary.internalPubkey',
    ({ given, intermediary }) => {
      const secret = hexToBytes(given.internalPrivkey)
      expect(bytesToHex(xOnlyFromPoint(pointFromSecret(secret)))).toBe(intermediary.internalPubkey)
      expect(bytesToHex(taprootTweakSecret(secret, optional(given.merkleRoot)))).toBe(intermediary.tweakedPrivkey)
    },
  )
})

describe('taproot keys', () => {
  it('the tweaked secret signs for the tweaked point', () => {
    for (let n = 1; n < 9; n++) {
      const secret = new Uint8Array(32).fill(n)
      const root32 = n % 2 === 0 ? taggedHash('TapLeaf', secret) : undefined
      const output = taprootTweakPoint(xOnlyFromPoint(pointFromSecret(secret)), root32)
      const signature = schnorrSign(secret, taprootTweakSecret(secret, root32), new Uint8Array(32))
      expect(schnorrVerify(signature, secret, output.xonly)).toBe(true)
    }
  })

  it('are refused, or fail the check, where they are no point, and where the tweak is not below n', () => {
    const offCurve = hexToBytes('eefdea4cdb677750a420fee807eacf21eb9898ae79b9768766e4faa04a2d4a34')
    const key = xOnlyFromPoint(pointFromSecret(new Uint8Array(32).fill(1)))
    expect(() => taprootTweakPoint(offCurve)).toThrow('invalid_point')
    expect(() => taprootTweakPoint(key, new Uint8Array(31))).toThrow('invalid_length')
    expect(xOnlyTweakAddCheck(key, 0, offCurve, new Uint8Array(32))).toBe(false)
    expect(xOnlyTweakAddCheck(key, 0, key, new Uint8Array(32).fill(255))).toBe(false)
    expect(xOnlyTweakAddCheck(key, 0, key.subarray(1), new Uint8Array(32))).toBe(false)
    expect(xOnlyTweakAddCheck(key, 0, key, new Uint8Array(32))).toBe(true)
  })
})
