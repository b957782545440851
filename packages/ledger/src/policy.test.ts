import { describe, expect, it } from 'vitest'
import { hash160 } from '@leyden/crypto'
import { concat } from '@leyden/codec'
import { OP, p2sh, pushBytes, Sat, Txid, type Tx } from '@leyden/bitcoin'
import { checkStandardInputs } from './policy.ts'

describe('inputs that spend P2SH', () => {
  const redeemScript = Uint8Array.of(OP.OP_1)
  const judge = (...pushes: Uint8Array[]) => {
    const tx: Tx = {
      version: 2,
      inputs: [
        {
          outpoint: { txid: Txid('11'.repeat(32)), vout: 0 },
          scriptSig: concat(...pushes, pushBytes(redeemScript)),
          sequence: 0,
          witness: [],
        },
      ],
      outputs: [{ value: Sat(1n), scriptPubKey: p2sh(hash160(redeemScript)) }],
      lockTime: 0,
    }
    return checkStandardInputs(tx, [{ value: Sat(2n), scriptPubKey: p2sh(hash160(redeemScript)) }])?.reason ?? 'standard'
  }
  const one = Uint8Array.of(OP.OP_1)

  it('are standard when their pushes can be run', () => {
    expect(judge()).toBe('standard')
    expect(judge(pushBytes(new Uint8Array(520)))).toBe('standard')
    expect(judge(pushBytes(new Uint8Array(521)))).toBe('bad-txns-nonstandard-inputs')
    expect(judge(...Array.from({ length: 999 }, () => one))).toBe('standard')
    expect(judge(...Array.from({ length: 1000 }, () => one))).toBe('bad-txns-nonstandard-inputs')
    expect(judge(Uint8Array.of(OP.OP_RESERVED))).toBe('bad-txns-nonstandard-inputs')
  })
})
