import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { useBackend } from './backend.ts'
import { pointFromSecret, xOnlyFromPoint } from './point.ts'
import { schnorrSign, schnorrVerify } from './schnorr.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const file = `${root}/bips/0340/test-vectors.csv`
const present = existsSync(file)

const rows = present
  ? readFileSync(file, 'utf8')
      .trim()
      .split(/\r?\n/)
      .slice(1)
      .map((line) => line.split(','))
      .map(([index = '', secret = '', xOnly = '', aux = '', message = '', signature = '', result = '', comment = '']) => ({
        name: `${index} ${comment}`,
        secret: hexToBytes(secret),
        xOnly: hexToBytes(xOnly),
        aux: hexToBytes(aux),
        message: hexToBytes(message),
        signature: hexToBytes(signature),
        valid: result === 'TRUE',
      }))
  : []

describe.skipIf(!present)(`BIP 340 vectors (skipped where ${file} is absent)`, () => {
  it('are all here', () => {
    expect(rows.length).toBeGreaterThanOrEqual(19)
  })

  describe.each(['native', 'wasm', 'noble'] as const)('%s', (name) => {
    it.each(rows)('$name', async ({ secret, xOnly, aux, message, signature, valid }) => {
      await useBackend(name)
      expect(schnorrVerify(signature, message, xOnly)).toBe(valid)
      if (secret.length === 0) return
      expect(xOnlyFromPoint(pointFromSecret(secret))).toEqual(xOnly)
      expect(bytesToHex(schnorrSign(message, secret, aux))).toBe(bytesToHex(signature))
    })
  })
})

describe('schnorr arguments', () => {
  const secret = new Uint8Array(32).fill(1)
  const zeros = new Uint8Array(32)

  it('are false to verify where a length is wrong', () => {
    const xOnly = xOnlyFromPoint(pointFromSecret(secret))
    const signature = schnorrSign(zeros, secret, zeros)
    expect(schnorrVerify(signature, zeros, xOnly)).toBe(true)
    expect(schnorrVerify(signature.subarray(1), zeros, xOnly)).toBe(false)
    expect(schnorrVerify(signature, zeros, pointFromSecret(secret))).toBe(false)
  })

  it('are refused to sign with an invalid secret or a short aux', () => {
    expect(() => schnorrSign(zeros, zeros, zeros)).toThrow('invalid_secret')
    expect(() => schnorrSign(zeros, secret, new Uint8Array(31))).toThrow('invalid_length')
  })
})
