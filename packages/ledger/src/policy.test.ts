import { beforeEach, describe, expect, it } from 'vitest'
import { pointFromSecret } from '@leyden/crypto'
import { buildScript, multisigScript, OP, P2A, p2shOf, p2wshOf, Sat, type Tx, type TxOutput } from '@leyden/bitcoin'
import { checkStandard, checkStandardInputs, DEFAULT_POLICY, policyVsize, type MempoolPolicy } from './policy.ts'
import { grow, outputOf, pay, toyChain, toyPool, TRUE_SCRIPT, type ToyPool } from './testing.ts'

const base = toyChain()
const coinbases = grow(base, 110)
let toy: ToyPool
beforeEach(() => {
  toy = toyPool(base, coinbases)
})

/** A transaction like any, with one output more. */
const withOutput = (...outputs: { value?: bigint; scriptPubKey: Uint8Array }[]): Tx => {
  const tx = toy.spend(0, 10_000)
  return {
    ...tx,
    outputs: [...tx.outputs, ...outputs.map(({ value = 1000n, scriptPubKey }) => ({ value: Sat(value), scriptPubKey }))],
  }
}
const reasonOf = (tx: Tx, policy: Partial<MempoolPolicy> = {}): string =>
  checkStandard(tx, { ...DEFAULT_POLICY, ...policy })?.reason ?? 'ok'

const point = pointFromSecret(new Uint8Array(32).fill(7))
const data = (length: number): Uint8Array => buildScript(OP.OP_RETURN, new Uint8Array(length).fill(7))

describe('a standard transaction', () => {
  it('has version 1 to 3', () => {
    expect([0, 1, 2, 3, 4].map((version) => reasonOf(toy.spend(0, 1, { version })))).toEqual([
      'version',
      'ok',
      'ok',
      'ok',
      'version',
    ])
  })

  it('carries data in one output, as long as the owner says, or not at all', () => {
    expect(reasonOf(withOutput({ value: 0n, scriptPubKey: data(80) }))).toBe('ok')
    expect(reasonOf(withOutput({ value: 0n, scriptPubKey: data(81) }))).toBe('scriptpubkey')
    expect(reasonOf(withOutput({ value: 0n, scriptPubKey: data(81) }), { maxDataCarrierBytes: 84 })).toBe('ok')
    expect(reasonOf(withOutput({ value: 0n, scriptPubKey: data(1) }), { maxDataCarrierBytes: undefined })).toBe('scriptpubkey')
    const two = withOutput({ value: 0n, scriptPubKey: data(1) }, { value: 0n, scriptPubKey: data(2) })
    expect(reasonOf(two)).toBe('multi-op-return')
  })

  it('has bare multisig of at most three keys, if the owner permits any', () => {
    const bare = (keys: number) =>
      withOutput({
        scriptPubKey: multisigScript(
          1,
          Array.from({ length: keys }, () => point),
        ),
      })
    expect(reasonOf(bare(3))).toBe('ok')
    expect(reasonOf(bare(4))).toBe('scriptpubkey')
    expect(reasonOf(bare(3), { permitBareMultisig: false })).toBe('bare-multisig')
  })

  it('has at most one dust output, by the rate that the owner says', () => {
    const dust = { value: 329n, scriptPubKey: p2wshOf(TRUE_SCRIPT) }
    expect(reasonOf(withOutput(dust))).toBe('ok')
    expect(reasonOf(withOutput(dust, dust))).toBe('dust')
    expect(reasonOf(withOutput(dust, dust), { dustFeeratePerKvb: 0 })).toBe('ok')
    expect(reasonOf(withOutput({ value: 239n, scriptPubKey: P2A }, { value: 239n, scriptPubKey: P2A }))).toBe('dust')
    expect(reasonOf(withOutput({ value: 240n, scriptPubKey: P2A }, { value: 240n, scriptPubKey: P2A }))).toBe('ok')
  })

  it('pays to scripts of a known form', () => {
    expect(reasonOf(withOutput({ scriptPubKey: buildScript(OP.OP_TRUE) }))).toBe('scriptpubkey')
    expect(reasonOf(withOutput({ scriptPubKey: buildScript(OP.OP_16, new Uint8Array(20)) }))).toBe('ok')
  })
})

describe('what is spent', () => {
  const inputs = (prevout: Uint8Array, fields: { scriptSig?: Uint8Array; witness?: Uint8Array[] }): string => {
    const tx = pay([outputOf(coinbases[0] as Tx)], [1n])
    const { scriptSig = new Uint8Array(0), witness = [] } = fields
    const spent: TxOutput = { value: Sat(1000n), scriptPubKey: prevout }
    return checkStandardInputs({ ...tx, inputs: [{ ...tx.inputs[0]!, scriptSig, witness }] }, [spent])?.reason ?? 'ok'
  }

  it('has a known form, and a redeem script of at most 15 signature operations', () => {
    expect(inputs(buildScript(OP.OP_TRUE), {})).toBe('bad-txns-nonstandard-inputs')
    expect(inputs(buildScript(OP.OP_2, new Uint8Array(32)), {})).toBe('bad-txns-nonstandard-inputs')
    const checks = (n: number): Uint8Array => buildScript(...Array.from({ length: n }, () => OP.OP_CHECKSIG))
    const spendP2sh = (script: Uint8Array): string => inputs(p2shOf(script), { scriptSig: buildScript(script) })
    expect(spendP2sh(checks(15))).toBe('ok')
    expect(spendP2sh(checks(16))).toBe('bad-txns-nonstandard-inputs')
  })

  it('has a witness only where one belongs, and none on an anchor', () => {
    expect(inputs(P2A, {})).toBe('ok')
    expect(inputs(P2A, { witness: [new Uint8Array(1)] })).toBe('bad-witness-nonstandard')
    expect(inputs(p2shOf(TRUE_SCRIPT), { scriptSig: buildScript(TRUE_SCRIPT), witness: [new Uint8Array(1)] })).toBe(
      'bad-witness-nonstandard',
    )
  })

  it('has a witness of at most 100 items of 80 bytes, and a script of 3600', () => {
    const spendP2wsh = (items: number, length: number, script = TRUE_SCRIPT): string =>
      inputs(p2wshOf(script), { witness: [...Array.from({ length: items }, () => new Uint8Array(length)), script] })
    expect(spendP2wsh(100, 80)).toBe('ok')
    expect(spendP2wsh(101, 80)).toBe('bad-witness-nonstandard')
    expect(spendP2wsh(1, 81)).toBe('bad-witness-nonstandard')
    expect(spendP2wsh(1, 1, new Uint8Array(3600).fill(0x51))).toBe('ok')
    expect(spendP2wsh(1, 1, new Uint8Array(3601).fill(0x51))).toBe('bad-witness-nonstandard')
  })

  it('has a taproot witness without annex, and tapscript items of at most 80 bytes', () => {
    const taproot = buildScript(OP.OP_1, new Uint8Array(32).fill(2))
    const control = Uint8Array.of(0xc0, ...new Uint8Array(32))
    const script = TRUE_SCRIPT
    expect(inputs(taproot, { witness: [new Uint8Array(64)] })).toBe('ok')
    expect(inputs(taproot, { witness: [new Uint8Array(64), Uint8Array.of(0x50)] })).toBe('bad-witness-nonstandard')
    expect(inputs(taproot, { witness: [new Uint8Array(80), script, control] })).toBe('ok')
    expect(inputs(taproot, { witness: [new Uint8Array(81), script, control] })).toBe('bad-witness-nonstandard')
    expect(inputs(taproot, { witness: [new Uint8Array(81), script, Uint8Array.of(0xc2, ...control.slice(1))] })).toBe('ok')
    expect(inputs(taproot, { witness: [script, new Uint8Array(0)] })).toBe('bad-witness-nonstandard')
  })
})

describe('the choice of the owner', () => {
  it('may be any form that consensus allows', () => {
    const odd = toy.spend(0, 1000, { version: 7, scriptPubKey: buildScript(OP.OP_TRUE) }, 3)
    expect(toy.judge(odd)).toBe('version')
    const loose = toyPool(base, coinbases, { requireStandard: false })
    expect(loose.judge(odd)).toBe('ok')
    const free = loose.add(odd)
    expect(loose.judge({ ...pay([outputOf(free)], [1000n]), version: 9 })).toBe(
      'mandatory-script-verify-flag-failed (Witness provided for non-witness script)',
    )
  })

  it('may be another relay floor', () => {
    const dear = toyPool(base, coinbases, { minRelayFeeratePerKvb: 5000 })
    expect(dear.judge(toy.spend(0, 200))).toBe('min relay fee not met')
    expect(dear.judge(toy.spend(0, 1000))).toBe('ok')
  })

  it('may be to replace only what signals it, or is of version 3', () => {
    const strict = toyPool(base, coinbases, { fullRbf: false })
    strict.add(pay([{ ...outputOf(coinbases[0] as Tx), sequence: 0xffff_fffe }], [4_999_990_000n]))
    expect(strict.judge(strict.spend(0, 50_000))).toBe('txn-mempool-conflict')
    strict.add(pay([{ ...outputOf(coinbases[1] as Tx), sequence: 0xffff_fffd }], [4_999_990_000n]))
    expect(strict.judge(strict.spend(1, 50_000))).toBe('ok')
    strict.add(pay([{ ...outputOf(coinbases[2] as Tx), sequence: 0xffff_fffe }], [4_999_990_000n], { version: 3 }))
    expect(strict.judge(strict.spend(2, 50_000))).toBe('ok')
  })

  it('may be shorter chains', () => {
    const short = toyPool(base, coinbases, { limits: { ...DEFAULT_POLICY.limits, ancestorCount: 2 } })
    const first = short.add(short.spend(0, 1000))
    const second = short.add(short.on(first, 1000))
    expect(short.judge(short.on(second, 1000))).toBe('too-long-mempool-chain')
  })

  it('may be what a signature operation weighs', () => {
    expect(policyVsize(400, 10, 20)).toBe(100)
    expect(policyVsize(400, 40, 20)).toBe(200)
    expect(policyVsize(400, 40, 0)).toBe(100)
  })
})
