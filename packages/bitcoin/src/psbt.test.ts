import { bytesToHex, concat, DecodeError, hexToBytes } from '@leyden/codec'
import {
  derFromCompact,
  ecdsaSignLowR,
  hash160,
  pointFromSecret,
  schnorrSign,
  taprootTweakSecret,
  xOnlyFromPoint,
} from '@leyden/crypto'
import { describe, expect, it } from 'vitest'
import { Txid } from './ids.ts'
import { STANDARD_SCRIPT_FLAGS, verifyTx } from './interpreter.ts'
import { extractPsbtTx, finalizePsbtInput, spentOutput } from './psbt-final.ts'
import {
  combinePsbts,
  createPsbt,
  decodePsbt,
  encodePsbt,
  psbtFromBase64,
  psbtToBase64,
  type Psbt,
  type PsbtInput,
} from './psbt.ts'
import { multisigScript, p2pkh, p2pkhOf, p2shOf, p2wpkhOf, p2wshOf } from './script.ts'
import { SIGHASH, sighashLegacy, sighashTaproot, sighashV0 } from './sighash.ts'
import { taprootOutput } from './taproot.ts'
import { encodeTx, txid, type Tx, type TxOutput } from './tx.ts'
import { Sat } from './units.ts'

describe('BIP 174 and BIP 371 vectors (the shorter ones)', () => {
  const valid = {
    'one input of an unknown type':
      'cHNidP8BAD8CAAAAAf//////////////////////////////////////////AAAAAAD/////AQAAAAAAAAAAA2oBAAAAAAAACvABAgMEBQYHCAkPAQIDBAUGBwgJCgsMDQ4PAAA=',
    nothing: 'cHNidP8BAAoAAAAAAAAAAAAAAA==',
    'no inputs':
      'cHNidP8BAEwCAAAAAALT3/UFAAAAABl2qRTQxZkDxbrChodg6Q/VIaRmWqdlIIisAOH1BQAAAAAXqRQ1RebjO4MsRwUPJNPuuTycA5SLx4ezLhMAAAAA',
  }
  const bad = {
    'a value of another size than stated':
      'cHNidP8BADN0Af8HAAEAAAAABAP8BAApzMXQo/wAAAAAB/wEDAQAAAQAAAAAAAAAAdgEAAABBAAkAAAAAAA==',
    'an internal key of 33 bytes':
      'cHNidP8BAHECAAAAASd0Srq/MCf+DWzyOpbu4u+xiO9SMBlUWFiD5ptmJLJCAAAAAAD/////Anh8AQAAAAAAFgAUg6fjS9mf8DpJYu+KGhAbspVGHs5gawQqAQAAABYAFHrDad8bIOAz1hFmI5V7CsSfPFLoAAAAAAABASsA8gUqAQAAACJRIFosLPW1LPMfg60ujaY/8DGD7Nj2CcdRCuikjgORCgdXARchAv40kGTJjW4qhT+jybEr2LMEoZwZXGDvp+4jkwRtP6IyAAAA',
    'a taproot signature of 63 bytes':
      'cHNidP8BAHECAAAAASd0Srq/MCf+DWzyOpbu4u+xiO9SMBlUWFiD5ptmJLJCAAAAAAD/////Anh8AQAAAAAAFgAUg6fjS9mf8DpJYu+KGhAbspVGHs5gawQqAQAAABYAFHrDad8bIOAz1hFmI5V7CsSfPFLoAAAAAAABASsA8gUqAQAAACJRIFosLPW1LPMfg60ujaY/8DGD7Nj2CcdRCuikjgORCgdXARM/Fzuz02wHSvtxb+xjB6BpouRQuZXzyCeFlFq43w4kJg3NcDsMvzTeOZGEqUgawrNYbbZgHwJqd/fkk4SBvDR1AAAA',
  }
  it.each(Object.entries(valid))('reads and writes %s', (_, text) => {
    expect(psbtToBase64(psbtFromBase64(text))).toBe(text)
  })
  it.each(Object.entries(bad))('refuses %s', (_, text) => {
    expect(() => psbtFromBase64(text)).toThrow(DecodeError)
  })
  it('combines unknown records in the order of their keys', () => {
    const first =
      'cHNidP8BAD8CAAAAAf//////////////////////////////////////////AAAAAAD/////AQAAAAAAAAAAA2oBAAAAAAAK8AECAwQFBgcICQ8BAgMEBQYHCAkKCwwNDg8ACvABAgMEBQYHCAkPAQIDBAUGBwgJCgsMDQ4PAArwAQIDBAUGBwgJDwECAwQFBgcICQoLDA0ODwA='
    const second =
      'cHNidP8BAD8CAAAAAf//////////////////////////////////////////AAAAAAD/////AQAAAAAAAAAAA2oBAAAAAAAK8AECAwQFBgcIEA8BAgMEBQYHCAkKCwwNDg8ACvABAgMEBQYHCBAPAQIDBAUGBwgJCgsMDQ4PAArwAQIDBAUGBwgQDwECAwQFBgcICQoLDA0ODwA='
    const both =
      'cHNidP8BAD8CAAAAAf//////////////////////////////////////////AAAAAAD/////AQAAAAAAAAAAA2oBAAAAAAAK8AECAwQFBgcICQ8BAgMEBQYHCAkKCwwNDg8K8AECAwQFBgcIEA8BAgMEBQYHCAkKCwwNDg8ACvABAgMEBQYHCAkPAQIDBAUGBwgJCgsMDQ4PCvABAgMEBQYHCBAPAQIDBAUGBwgJCgsMDQ4PAArwAQIDBAUGBwgJDwECAwQFBgcICQoLDA0ODwrwAQIDBAUGBwgQDwECAwQFBgcICQoLDA0ODwA='
    expect(psbtToBase64(combinePsbts(psbtFromBase64(first), psbtFromBase64(second)))).toBe(both)
    expect(() => combinePsbts(psbtFromBase64(first), psbtFromBase64(valid.nothing))).toThrow(RangeError)
  })
  it('refuses what is not base64, a repeated key, another version', () => {
    expect(() => psbtFromBase64('*')).toThrow(DecodeError)
    const bytes = bytesToHex(encodePsbt(psbtFromBase64(valid.nothing)))
    const twice = bytes.replace('70736274ff', '70736274ff01000a00000000000000000000')
    expect(() => decodePsbt(hexToBytes(twice))).toThrow(DecodeError)
    expect(() => decodePsbt(hexToBytes(`${bytes.slice(0, -2)}01fb040200000000`))).toThrow(DecodeError)
    expect(decodePsbt(hexToBytes(`${bytes.slice(0, -2)}01fb040000000000`)).others).toHaveLength(1)
  })
})

describe('from creation to the signed transaction', () => {
  const secrets = [1, 2, 3, 4, 5, 6].map((n) => new Uint8Array(32).fill(n))
  const points = secrets.map((secret) => pointFromSecret(secret))
  const multisig = multisigScript(2, points.slice(3))
  const nested = p2wpkhOf(points[2]!)
  const taproot = taprootOutput(xOnlyFromPoint(points[0]!))
  const scripts = [p2pkhOf(points[0]!), p2wpkhOf(points[1]!), p2shOf(nested), p2wshOf(multisig), taproot.scriptPubKey]
  const funding: Tx = {
    version: 2,
    inputs: [{ outpoint: { txid: Txid('44'.repeat(32)), vout: 0 }, scriptSig: new Uint8Array(0), sequence: 0, witness: [] }],
    outputs: scripts.map((scriptPubKey) => ({ value: Sat(10_000n), scriptPubKey })),
    lockTime: 0,
  }
  const spending: Tx = {
    version: 2,
    inputs: scripts.map((_, vout) => ({
      outpoint: { txid: txid(funding), vout },
      scriptSig: new Uint8Array(0),
      sequence: 0xfffffffd,
      witness: [],
    })),
    outputs: [{ value: Sat(49_000n), scriptPubKey: scripts[1]! }],
    lockTime: 0,
  }
  const prevouts: readonly TxOutput[] = funding.outputs
  const created = createPsbt(spending)
  const withInputs = (psbt: Psbt, change: (input: PsbtInput, i: number) => PsbtInput): Psbt => ({
    ...psbt,
    inputs: psbt.inputs.map(change),
  })
  const updated = withInputs(created, (input, i) => ({
    ...input,
    ...(i === 0 ? { nonWitnessUtxo: funding } : { witnessUtxo: prevouts[i]! }),
    ...(i === 2 && { redeemScript: nested }),
    ...(i === 3 && { witnessScript: multisig }),
    ...(i === 4 && { tapInternalKey: xOnlyFromPoint(points[0]!) }),
    ...(i < 4 && { sighashType: SIGHASH.all }),
    derivations: [{ point: points[i]!, fingerprint: hexToBytes('deadbeef'), path: [0x80000054, 1, i] }],
  }))
  const der = (hash: Uint8Array, key: number) => ({
    point: points[key]!,
    signature: concat(derFromCompact(ecdsaSignLowR(hash, secrets[key]!)), Uint8Array.of(SIGHASH.all)),
  })
  const v0 = (i: number, script: Uint8Array) => sighashV0(spending, i, script, Sat(10_000n), SIGHASH.all)
  const signatures = [
    [der(sighashLegacy(spending, 0, scripts[0]!, SIGHASH.all), 0)],
    [der(v0(1, p2pkh(hash160(points[1]!))), 1)],
    [der(v0(2, p2pkh(hash160(points[2]!))), 2)],
    [der(v0(3, multisig), 5), der(v0(3, multisig), 3)],
    [],
  ]
  const signed = withInputs(updated, (input, i) => ({
    ...input,
    partialSignatures: signatures[i]!,
    ...(i === 4 && {
      tapKeySignature: schnorrSign(sighashTaproot(spending, 4, prevouts, 0), taprootTweakSecret(secrets[0]!), new Uint8Array(32)),
    }),
  }))
  const finish = (psbt: Psbt): Psbt =>
    psbt.inputs.reduce((at, _, i) => {
      const next = finalizePsbtInput(at, i)
      if (typeof next === 'string') throw new Error(next)
      return next
    }, psbt)

  it('keeps every field through bytes', () => {
    for (const psbt of [created, updated, signed, finish(signed)]) expect(decodePsbt(encodePsbt(psbt))).toEqual(psbt)
  })
  it('finishes P2PKH, P2WPKH, P2SH-P2WPKH, P2WSH multisig and taproot; the scripts pass', () => {
    const tx = extractPsbtTx(finish(decodePsbt(encodePsbt(signed))))!
    expect(verifyTx(tx, prevouts, STANDARD_SCRIPT_FLAGS)).toBeUndefined()
    expect(txid({ ...tx, inputs: tx.inputs.map((one) => ({ ...one, scriptSig: new Uint8Array(0) })) })).toBe(txid(spending))
    expect(encodeTx(tx).length).toBeGreaterThan(encodeTx(spending).length)
  })
  it('gives no transaction before every input is finished', () => {
    expect(extractPsbtTx(signed)).toBeUndefined()
    expect(extractPsbtTx(finalizePsbtInput(signed, 0) as Psbt)).toBeUndefined()
  })
  it('says why an input cannot be finished', () => {
    expect(finalizePsbtInput(created, 0)).toBe('no_spent_output')
    for (const i of [0, 1, 2, 3, 4]) expect(finalizePsbtInput(updated, i)).toBe('missing_signature')
    const half = withInputs(signed, (input, i) =>
      i === 3 ? { ...input, partialSignatures: input.partialSignatures.slice(1) } : input,
    )
    expect(finalizePsbtInput(half, 3)).toBe('missing_signature')
    const other = withInputs(signed, (input) => ({ ...input, redeemScript: multisig, witnessScript: nested }))
    expect(finalizePsbtInput(other, 2)).toBe('script_mismatch')
    expect(finalizePsbtInput(other, 3)).toBe('script_mismatch')
    const none = withInputs(signed, (input) => ({ ...input, sighashType: SIGHASH.none }))
    expect(finalizePsbtInput(none, 1)).toBe('wrong_sighash_type')
    expect(finalizePsbtInput(none, 4)).toBe('wrong_sighash_type')
    expect(() => finalizePsbtInput(signed, 9)).toThrow(RangeError)
  })
  it('does not believe an output that contradicts the previous transaction', () => {
    const lying = withInputs(signed, (input) => ({
      ...input,
      nonWitnessUtxo: funding,
      witnessUtxo: { ...prevouts[1]!, value: Sat(1n) },
    }))
    expect(spentOutput(lying, 1)).toBeUndefined()
    const foreign = withInputs(signed, (input) => ({ ...input, nonWitnessUtxo: spending }))
    expect(spentOutput(foreign, 1)).toBeUndefined()
    expect(() => decodePsbt(encodePsbt(foreign))).toThrow(DecodeError)
  })
  it('combines signatures of two signers', () => {
    const one = withInputs(updated, (input, i) => ({ ...input, partialSignatures: signatures[i]!.slice(0, 1) }))
    const two = withInputs(signed, (input, i) => ({ ...input, partialSignatures: signatures[i]!.slice(1) }))
    const tx = extractPsbtTx(finish(combinePsbts(one, two)))!
    expect(verifyTx(tx, prevouts, STANDARD_SCRIPT_FLAGS)).toBeUndefined()
  })
})
