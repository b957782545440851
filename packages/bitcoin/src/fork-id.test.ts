import { concat } from '@leyden/codec'
import { derFromCompact, ecdsaSign, pointFromSecret, schnorrSign, taprootTweakSecret, xOnlyFromPoint } from '@leyden/crypto'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { blockVersionAt, forkIdAt, scriptFlagsAt } from './consensus/rules.ts'
import { checkHeader } from './consensus/header.ts'
import { blockHash } from './block.ts'
import { BlockHash, Txid } from './ids.ts'
import { MAX_FORK_ID, STANDARD_SCRIPT_FLAGS, verifyInput, verifyTx, withForkId } from './interpreter.ts'
import { customNetwork, networks, type Network } from './networks.ts'
import { buildScript, multisigScript, OP, p2pkhOf, p2shOf, p2wpkhOf, p2wshOf, pushBytes } from './script.ts'
import { forkIdOf } from './script-rules.ts'
import { forkSighashType, SIGHASH, sighashLegacy, sighashTaproot, sighashV0 } from './sighash.ts'
import { taprootOutput } from './taproot.ts'
import type { Tx, TxInput, TxOutput } from './tx.ts'
import { Sat } from './units.ts'

const SECRETS = [new Uint8Array(32).fill(3), new Uint8Array(32).fill(5)] as const
const [SECRET] = SECRETS
const POINT = pointFromSecret(SECRET)
const KEY = xOnlyFromPoint(POINT)
const AUX = new Uint8Array(32)
const NOTHING = new Uint8Array(0)
const TWO_OF_TWO = multisigScript(2, SECRETS.map(pointFromSecret))
const LEAF = buildScript(KEY, OP.OP_CHECKSIG)
const TREE = taprootOutput(KEY, { script: LEAF })
const VALUE = Sat(1000n)

type Signed = Pick<TxInput, 'scriptSig' | 'witness'>
/** A way to spend an output by signatures of this type that commit to this id. */
type Kind = {
  readonly scriptPubKey: Uint8Array
  readonly sign: (tx: Tx, at: number, spent: readonly TxOutput[], type: number, forkId: number) => Signed
}

const der = (hash: Uint8Array, type: number, secret: Uint8Array = SECRET): Uint8Array =>
  concat(derFromCompact(ecdsaSign(hash, secret)), Uint8Array.of(type))
const legacy = (tx: Tx, at: number, script: Uint8Array, type: number, forkId: number, secret?: Uint8Array): Uint8Array =>
  der(sighashLegacy(tx, at, script, forkSighashType(type, forkId)), type, secret)
const v0 = (tx: Tx, at: number, script: Uint8Array, type: number, forkId: number, secret?: Uint8Array): Uint8Array =>
  der(sighashV0(tx, at, script, VALUE, forkSighashType(type, forkId)), type, secret)

const KINDS: Readonly<Record<string, Kind>> = {
  P2PK: {
    scriptPubKey: buildScript(POINT, OP.OP_CHECKSIG),
    sign: (tx, at, spent, type, id) => ({
      scriptSig: pushBytes(legacy(tx, at, spent[at]!.scriptPubKey, type, id)),
      witness: [],
    }),
  },
  P2PKH: {
    scriptPubKey: p2pkhOf(POINT),
    sign: (tx, at, spent, type, id) => ({
      scriptSig: buildScript(legacy(tx, at, spent[at]!.scriptPubKey, type, id), POINT),
      witness: [],
    }),
  },
  'P2SH multisig': {
    scriptPubKey: p2shOf(TWO_OF_TWO),
    sign: (tx, at, _, type, id) => ({
      scriptSig: buildScript(0, ...SECRETS.map((secret) => legacy(tx, at, TWO_OF_TWO, type, id, secret)), TWO_OF_TWO),
      witness: [],
    }),
  },
  P2WPKH: {
    scriptPubKey: p2wpkhOf(POINT),
    sign: (tx, at, _, type, id) => ({ scriptSig: NOTHING, witness: [v0(tx, at, p2pkhOf(POINT), type, id), POINT] }),
  },
  'P2SH-P2WPKH': {
    scriptPubKey: p2shOf(p2wpkhOf(POINT)),
    sign: (tx, at, _, type, id) => ({
      scriptSig: pushBytes(p2wpkhOf(POINT)),
      witness: [v0(tx, at, p2pkhOf(POINT), type, id), POINT],
    }),
  },
  'P2WSH multisig': {
    scriptPubKey: p2wshOf(TWO_OF_TWO),
    sign: (tx, at, _, type, id) => ({
      scriptSig: NOTHING,
      witness: [NOTHING, ...SECRETS.map((secret) => v0(tx, at, TWO_OF_TWO, type, id, secret)), TWO_OF_TWO],
    }),
  },
  'P2TR key': {
    scriptPubKey: TREE.scriptPubKey,
    sign: (tx, at, spent, type, id) => {
      const hash = sighashTaproot(tx, at, spent, forkSighashType(type, id))
      const signature = schnorrSign(hash, taprootTweakSecret(SECRET, TREE.merkleRoot), AUX)
      return { scriptSig: NOTHING, witness: [concat(signature, Uint8Array.of(type))] }
    },
  },
  tapscript: {
    scriptPubKey: TREE.scriptPubKey,
    sign: (tx, at, spent, type, id) => {
      const { leafHash, controlBlock } = TREE.spends[0]!
      const hash = sighashTaproot(tx, at, spent, forkSighashType(type, id), { leafHash })
      return { scriptSig: NOTHING, witness: [concat(schnorrSign(hash, SECRET, AUX), Uint8Array.of(type)), LEAF, controlBlock] }
    },
  },
}

const TYPES = [1, 2, 3, 0x81, 0x82, 0x83]

/** A transaction that spends one output of each kind, signed for the fork. */
const signAll = (type: number, forkId: number): { tx: Tx; spent: TxOutput[] } => {
  const kinds = Object.values(KINDS)
  const spent = kinds.map(({ scriptPubKey }) => ({ value: VALUE, scriptPubKey }))
  const unsigned: Tx = {
    version: 2,
    inputs: kinds.map((_, vout) => ({
      outpoint: { txid: Txid('11'.repeat(32)), vout },
      scriptSig: NOTHING,
      sequence: 0xffff_fffd,
      witness: [],
    })),
    outputs: kinds.map(() => ({ value: Sat(900n), scriptPubKey: p2wpkhOf(POINT) })),
    lockTime: 0,
  }
  const inputs = unsigned.inputs.map((input, i) => ({ ...input, ...kinds[i]!.sign(unsigned, i, spent, type, forkId) }))
  return { tx: { ...unsigned, inputs }, spent }
}

/** Kinds of which the signature is good under these flags. */
const good = ({ tx, spent }: { tx: Tx; spent: readonly TxOutput[] }, flags: number): string[] =>
  Object.keys(KINDS).filter((_, inputIndex) => verifyInput({ tx, inputIndex, prevouts: spent, flags }) === undefined)

const forkId = fc.integer({ min: 1, max: MAX_FORK_ID })

describe('a fork id', () => {
  it('is committed to by signatures of every kind and type: good with the id, with no other and without one', () => {
    fc.assert(
      fc.property(forkId, forkId, fc.constantFrom(...TYPES), (id, other, type) => {
        const signed = signAll(type, id)
        expect(good(signed, withForkId(STANDARD_SCRIPT_FLAGS, id))).toEqual(Object.keys(KINDS))
        expect(good(signed, STANDARD_SCRIPT_FLAGS)).toEqual([])
        const elsewhere = other === id ? Object.keys(KINDS) : []
        expect(good(signed, withForkId(STANDARD_SCRIPT_FLAGS, other))).toEqual(elsewhere)
      }),
      { numRuns: 12 },
    )
  })

  it('is not asked of signatures before the fork, and those are not good after it', () => {
    for (const type of TYPES) {
      const signed = signAll(type, 0)
      expect(verifyTx(signed.tx, signed.spent, STANDARD_SCRIPT_FLAGS)).toBeUndefined()
      expect(good(signed, withForkId(STANDARD_SCRIPT_FLAGS, 1))).toEqual([])
    }
  })

  it('leaves no signature that commits to nothing: SIGHASH_SINGLE without an output is refused before segwit', () => {
    const scriptPubKey = p2pkhOf(POINT)
    const spent = [VALUE, VALUE].map((value) => ({ value, scriptPubKey }))
    const input = (vout: number): TxInput => ({
      outpoint: { txid: Txid('22'.repeat(32)), vout },
      scriptSig: NOTHING,
      sequence: 0,
      witness: [],
    })
    const unsigned: Tx = { version: 2, inputs: [input(0), input(1)], outputs: [{ value: VALUE, scriptPubKey }], lockTime: 0 }
    const signature = legacy(unsigned, 1, scriptPubKey, SIGHASH.single, 0)
    const tx = { ...unsigned, inputs: [input(0), { ...input(1), scriptSig: buildScript(signature, POINT) }] }
    const check = { tx, inputIndex: 1, prevouts: spent }
    expect(verifyInput({ ...check, flags: STANDARD_SCRIPT_FLAGS })).toBeUndefined()
    expect(verifyInput({ ...check, flags: withForkId(STANDARD_SCRIPT_FLAGS, 1) })).toBe('NULLFAIL')
  })

  it('stands above the flags, and asking for a flag does not see it', () => {
    fc.assert(
      fc.property(forkId, fc.integer({ min: 0, max: 0xffff_ffff }), (id, flags) => {
        const rules = withForkId(flags, id)
        expect([forkIdOf(rules), rules & 0xff, forkIdOf(flags)]).toEqual([id, flags & 0xff, 0])
      }),
    )
    expect(withForkId(STANDARD_SCRIPT_FLAGS, 0)).toBe(STANDARD_SCRIPT_FLAGS)
    for (const id of [-1, 1.5, MAX_FORK_ID + 1]) expect(() => withForkId(0, id)).toThrow(RangeError)
  })
})

describe('a network with a fork', () => {
  const fork = (id: number): Network =>
    customNetwork(networks.regtest, { name: `fork${id}`, magic: Uint8Array.of(1, 2, 3, id), fork: { id, height: 10 } })
  const some = BlockHash('00'.repeat(32))

  it('has its rules from the height on', () => {
    expect([9, 10, 11].map((height) => forkIdAt(fork(7), height))).toEqual([0, 7, 7])
    expect(scriptFlagsAt(fork(7), 9, some)).toBe(scriptFlagsAt(networks.regtest, 9, some))
    expect(scriptFlagsAt(fork(7), 10, some)).toBe(withForkId(scriptFlagsAt(networks.regtest, 10, some), 7))
  })

  it('keeps headers apart in every direction', () => {
    const { header: previous } = networks.regtest.genesis
    const judge = (network: Network, height: number, version: number): string | undefined => {
      let header = { ...previous, version, previousHash: blockHash(previous), time: previous.time + 1, nonce: 0 }
      const context = {
        network,
        previous: { height: height - 1, header: previous },
        medianTimePast: previous.time,
        now: header.time,
        headerAt: () => previous,
      }
      while (checkHeader(header, context) === 'high-hash') header = { ...header, nonce: header.nonce + 1 }
      return checkHeader(header, context)
    }
    const { regtest } = networks
    const [before, one, two] = [regtest, fork(1), fork(2)].map((network) => blockVersionAt(network, 10)) as [
      number,
      number,
      number,
    ]
    expect(blockVersionAt(fork(1), 9)).toBe(before)
    expect([judge(regtest, 10, before), judge(fork(1), 10, one), judge(fork(1), 9, before)]).toEqual([
      undefined,
      undefined,
      undefined,
    ])
    expect([judge(regtest, 10, one), judge(fork(1), 9, one)]).toEqual(Array(2).fill('bad-version(0x80000001)'))
    expect([judge(fork(1), 10, before), judge(fork(1), 10, two), judge(fork(2), 10, one)]).toEqual(
      Array(3).fill('bad-fork-version'),
    )
  })
})
