import { existsSync, readFileSync } from 'node:fs'
import { fileURLToPath } from 'node:url'
import { bytesToHex, hexToBytes, reverse } from '@leyden/codec'
import { schnorrSign, taprootTweakSecret } from '@leyden/crypto'
import { describe, expect, it } from 'vitest'
import { decodeAddress } from './address.ts'
import { Txid } from './ids.ts'
import { MANDATORY_SCRIPT_FLAGS, STANDARD_SCRIPT_FLAGS, verifyInput, verifyTx } from './interpreter.ts'
import { networks } from './networks.ts'
import { P2A, p2pkh } from './script.ts'
import { SIGHASH, sighashCache, sighashLegacy, sighashTaproot, sighashV0 } from './sighash.ts'
import { taprootOutput, tapTreeRoot, type TapTree } from './taproot.ts'
import { decodeTx, type Tx, type TxOutput } from './tx.ts'
import { Sat } from './units.ts'

const root = process.env['LEYDEN_VECTORS'] ?? fileURLToPath(new URL('../../../../shared/vectors', import.meta.url))
const absent = !existsSync(`${root}/bitcoin-core`)
if (absent) process.stderr.write('sighash vectors skipped: no LEYDEN_VECTORS\n')
const load = (name: string): unknown => JSON.parse(readFileSync(`${root}/bitcoin-core/${name}.json`, 'utf8'))

type VectorTree = { script: string; leafVersion: number } | [VectorTree, VectorTree]
const treeOf = (tree: VectorTree): TapTree =>
  Array.isArray(tree) ? [treeOf(tree[0]), treeOf(tree[1])] : { script: hexToBytes(tree.script), leafVersion: tree.leafVersion }

type WalletVectors = {
  scriptPubKey: {
    given: { internalPubkey: string; scriptTree: VectorTree | null }
    intermediary: { merkleRoot: string | null; leafHashes?: string[]; tweakedPubkey: string }
    expected: { scriptPubKey: string; bip350Address: string; scriptPathControlBlocks?: string[] }
  }[]
  keyPathSpending: {
    given: { rawUnsignedTx: string; utxosSpent: { scriptPubKey: string; amountSats: number }[] }
    intermediary: { [name: string]: string }
    inputSpending: {
      given: { txinIndex: number; internalPrivkey: string; merkleRoot: string | null; hashType: number }
      intermediary: { sigHash: string; tweakedPrivkey: string }
      expected: { witness: string[] }
    }[]
  }[]
}

describe.skipIf(absent)('vectors of Bitcoin Core and BIP 341 (skipped without LEYDEN_VECTORS)', () => {
  it('B3: sighash.json: legacy hashes, any 32-bit type, OP_CODESEPARATOR anywhere', () => {
    const rows = load('sighash') as [string, string, number, number, string][]
    const wrong = rows.filter(([raw, script, index, type, expected]) => {
      if (index === undefined) return false
      const hash = sighashLegacy(decodeTx(hexToBytes(raw)), index, hexToBytes(script), type)
      return bytesToHex(reverse(hash)) !== expected
    })
    expect(wrong).toEqual([])
    expect(rows.length).toBeGreaterThan(450)
  })

  it('BIP 341 scriptPubKey vectors: trees, output keys, control blocks', () => {
    for (const { given, intermediary, expected } of (load('bip341_wallet_vectors') as WalletVectors).scriptPubKey) {
      const tree = given.scriptTree === null ? undefined : treeOf(given.scriptTree)
      const output = taprootOutput(hexToBytes(given.internalPubkey), tree)
      expect(tree === undefined ? null : bytesToHex(tapTreeRoot(tree))).toBe(intermediary.merkleRoot)
      expect(bytesToHex(output.outputKey)).toBe(intermediary.tweakedPubkey)
      expect(bytesToHex(output.scriptPubKey)).toBe(expected.scriptPubKey)
      expect(output.spends.map((spend) => bytesToHex(spend.leafHash))).toEqual(intermediary.leafHashes ?? [])
      expect(output.spends.map((spend) => bytesToHex(spend.controlBlock))).toEqual(expected.scriptPathControlBlocks ?? [])
      expect(decodeAddress(expected.bip350Address, networks.mainnet)).toEqual(output.scriptPubKey)
    }
  })

  it('BIP 341 key path vectors: hashes, signatures, and the interpreter accepts them', () => {
    for (const { given, intermediary, inputSpending } of (load('bip341_wallet_vectors') as WalletVectors).keyPathSpending) {
      const tx = decodeTx(hexToBytes(given.rawUnsignedTx))
      const spent: TxOutput[] = given.utxosSpent.map(({ scriptPubKey, amountSats }) => ({
        value: Sat(BigInt(amountSats)),
        scriptPubKey: hexToBytes(scriptPubKey),
      }))
      const cache = sighashCache(tx)
      expect(bytesToHex(cache.prevouts())).toBe(intermediary['hashPrevouts'])
      expect(bytesToHex(cache.sequences())).toBe(intermediary['hashSequences'])
      expect(bytesToHex(cache.outputs())).toBe(intermediary['hashOutputs'])
      expect(bytesToHex(cache.amounts(spent))).toBe(intermediary['hashAmounts'])
      expect(bytesToHex(cache.scriptPubKeys(spent))).toBe(intermediary['hashScriptPubkeys'])
      for (const input of inputSpending) {
        const { txinIndex, internalPrivkey, merkleRoot, hashType } = input.given
        const hash = sighashTaproot(tx, txinIndex, spent, hashType, { cache })
        expect(bytesToHex(hash)).toBe(input.intermediary.sigHash)
        const secret = taprootTweakSecret(hexToBytes(internalPrivkey), merkleRoot === null ? undefined : hexToBytes(merkleRoot))
        expect(bytesToHex(secret)).toBe(input.intermediary.tweakedPrivkey)
        const signature = schnorrSign(hash, secret, new Uint8Array(32))
        const witness = [hashType === 0 ? signature : Uint8Array.of(...signature, hashType)]
        expect(witness.map(bytesToHex)).toEqual(input.expected.witness)
        const signed: Tx = { ...tx, inputs: tx.inputs.map((one, i) => (i === txinIndex ? { ...one, witness } : one)) }
        expect(verifyInput({ tx: signed, inputIndex: txinIndex, prevouts: spent, flags: MANDATORY_SCRIPT_FLAGS })).toBeUndefined()
      }
    }
  })
})

describe('BIP 143', () => {
  // BIP 143 § Native P2WPKH
  const unsigned = decodeTx(
    hexToBytes(
      '0100000002fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f0000000000eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac11000000',
    ),
  )
  const signed = decodeTx(
    hexToBytes(
      '01000000000102fff7f7881a8099afa6940d42d1e7f6362bec38171ea3edf433541db4e4ad969f00000000494830450221008b9d1dc26ba6a9cb62127b02742fa9d754cd3bebf337f7a55d114c8e5cdd30be022040529b194ba3f9281a99f2b1c0a19c0489bc22ede944ccf4ecbab4cc618ef3ed01eeffffffef51e1b804cc89d182d279655c3aa89e815b1b309fe287d9b2b55d57b90ec68a0100000000ffffffff02202cb206000000001976a9148280b37df378db99f66f85c95a783a76ac7a6d5988ac9093510d000000001976a9143bde42dbee7e4dbe6a21b2d50ce2f0167faa815988ac000247304402203609e17b84f6a7d30c80bfa610b5b4542f32a8a0d5447a12fb1366d7f01cc44a0220573a954c4518331561406f90300e8f3358f51928d43c212a8caed02de67eebee0121025476c2e83188368da1ff3e292e7acafcdb3566bb0ad253f62fc70f07aeee635711000000',
    ),
  )
  const prevouts: TxOutput[] = [
    {
      value: Sat(625_000_000n),
      scriptPubKey: hexToBytes('2103c9f4836b9a4f77fc0d81f7bcb01b7f1b35916864b9476c241ce9fc198bd25432ac'),
    },
    { value: Sat(600_000_000n), scriptPubKey: hexToBytes('00141d0f172a0ecb48aee1be1f2687d2963ae33f71a1') },
  ]
  it('hashes the native P2WPKH example', () => {
    const hash = sighashV0(unsigned, 1, p2pkh(prevouts[1]!.scriptPubKey.subarray(2)), prevouts[1]!.value, SIGHASH.all)
    expect(bytesToHex(hash)).toBe('c37af31116d1b27caf68aae9e3ac82f1477929014d5b917657d0eb49478cb670')
  })
  it('verifies the signed example, and not with another amount', () => {
    expect(verifyTx(signed, prevouts, STANDARD_SCRIPT_FLAGS)).toBeUndefined()
    const other = [prevouts[0]!, { ...prevouts[1]!, value: Sat(1n) }]
    expect(verifyTx(signed, other, STANDARD_SCRIPT_FLAGS)).toEqual({ inputIndex: 1, error: 'NULLFAIL' })
  })
  it('gives the same hash with and without a cache, for every type', () => {
    const cache = sighashCache(unsigned)
    for (const type of [1, 2, 3, 0x81, 0x82, 0x83])
      for (const i of [0, 1])
        expect(sighashV0(unsigned, i, P2A, Sat(5n), type, cache)).toEqual(sighashV0(unsigned, i, P2A, Sat(5n), type))
  })
  it('makes each hash over all inputs once, whatever the number of inputs', () => {
    const cache = sighashCache(unsigned)
    expect(cache.doublePrevouts()).toBe(cache.doublePrevouts())
    expect(cache.outputs()).toBe(cache.outputs())
    expect(cache.amounts(prevouts)).toBe(cache.amounts(prevouts))
    expect(cache.amounts([...prevouts].reverse())).not.toEqual(cache.amounts(prevouts))
  })
  it('refuses a cache of another transaction', () => {
    expect(() => sighashV0(unsigned, 0, P2A, Sat(5n), 1, sighashCache(signed))).toThrow(RangeError)
  })
})

describe('edges', () => {
  const tx: Tx = {
    version: 2,
    inputs: [0, 1].map((vout) => ({
      outpoint: { txid: Txid('11'.repeat(32)), vout },
      scriptSig: new Uint8Array(0),
      sequence: 0,
      witness: [],
    })),
    outputs: [{ value: Sat(1n), scriptPubKey: P2A }],
    lockTime: 0,
  }
  const spent = [
    { value: Sat(1n), scriptPubKey: P2A },
    { value: Sat(2n), scriptPubKey: P2A },
  ]
  it('legacy SIGHASH_SINGLE without its output signs the number one', () => {
    expect(bytesToHex(sighashLegacy(tx, 1, P2A, SIGHASH.single))).toBe(`01${'00'.repeat(31)}`)
  })
  it('taproot SIGHASH_SINGLE without its output has nothing to sign', () => {
    expect(() => sighashTaproot(tx, 1, spent, SIGHASH.single)).toThrow(RangeError)
  })
  it('taproot refuses unknown types and missing outputs', () => {
    expect(() => sighashTaproot(tx, 0, spent, 4)).toThrow(RangeError)
    expect(() => sighashTaproot(tx, 0, spent, 0x80)).toThrow(RangeError)
    expect(() => sighashTaproot(tx, 0, spent.slice(1), 0)).toThrow(RangeError)
  })
  it('taproot commits to annex, leaf and code separator', () => {
    const leafHash = new Uint8Array(32)
    const hashes = [
      {},
      { annex: Uint8Array.of(0x50) },
      { leafHash },
      { leafHash, codeSeparator: 1 },
      { leafHash, annex: Uint8Array.of(0x50, 1) },
    ].map((options) => bytesToHex(sighashTaproot(tx, 0, spent, 0, options)))
    expect(new Set(hashes).size).toBe(hashes.length)
  })
})
