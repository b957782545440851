import { describe, expect, it } from 'vitest'
import { networks, customNetwork } from '../networks.ts'
import { Txid, ZERO_HASH, BlockHash } from '../ids.ts'
import { MANDATORY_SCRIPT_FLAGS, VERIFY } from '../interpreter.ts'
import { OP } from '../opcode.ts'
import { buildScript, multisigScript, P2A, p2shOf, p2wshOf, pushBytes } from '../script.ts'
import { decodeTx, encodeTx, NULL_VOUT, type Tx, type TxOutput } from '../tx.ts'
import { blockHash, merkleRoot, witnessCommitment, witnessCommitmentScript, type Block, type BlockHeader } from '../block.ts'
import { txid, wtxid } from '../tx.ts'
import { MAX_MONEY, Sat } from '../units.ts'
import {
  checkBlock,
  checkBlockAt,
  checkCoinbaseAmount,
  checkWitnessCommitment,
  coinbaseHeightScript,
  enforcesBip30,
} from './block.ts'
import {
  bitsFromTarget,
  checkHeader,
  difficultyInterval,
  meetsProofOfWork,
  nextWorkRequired,
  targetFromBits,
  workFromBits,
} from './header.ts'
import { medianTimePast, scriptFlagsAt, subsidy } from './rules.ts'
import { checkSignetSolution } from './signet.ts'
import { checkTx, checkTxInputs, isFinalTx, sequenceLocks, sequenceLocksMet, sigOpsCost, type Coin } from './tx.ts'

const { mainnet, regtest, signet, testnet4 } = networks
const NOTHING = new Uint8Array(0)

const txOf = (fields: Partial<Tx> & { sequences?: readonly number[] }): Tx => ({
  version: 2,
  inputs: (fields.sequences ?? [0xffffffff]).map((sequence, vout) => ({
    outpoint: { txid: Txid('22'.repeat(32)), vout },
    scriptSig: NOTHING,
    sequence,
    witness: [],
  })),
  outputs: [{ value: Sat(1000n), scriptPubKey: P2A }],
  lockTime: 0,
  ...fields,
})

describe('checkTx', () => {
  it('B8: refuses the same input twice (CVE-2018-17144)', () => {
    const tx = txOf({ sequences: [0, 1, 2] })
    expect(checkTx(tx)).toBeUndefined()
    expect(checkTx({ ...tx, inputs: [...tx.inputs, { ...tx.inputs[1]!, sequence: 9 }] })).toBe('bad-txns-inputs-duplicate')
  })
  it('refuses amounts out of range, which decode all the same', () => {
    const withValue = (...values: bigint[]) =>
      checkTx(decodeTx(encodeTx(txOf({ outputs: values.map((value) => ({ value: value as Sat, scriptPubKey: P2A })) }))))
    expect(withValue(-1n)).toBe('bad-txns-vout-negative')
    expect(withValue(MAX_MONEY + 1n)).toBe('bad-txns-vout-toolarge')
    expect(withValue(MAX_MONEY, 1n)).toBe('bad-txns-txouttotal-toolarge')
    expect(withValue(MAX_MONEY)).toBeUndefined()
  })
  it('refuses null outpoints but in a coinbase with a script of 2 to 100 bytes', () => {
    const input = { outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT }, scriptSig: NOTHING, sequence: 0, witness: [] }
    expect(checkTx(txOf({ inputs: [input] }))).toBe('bad-cb-length')
    expect(checkTx(txOf({ inputs: [{ ...input, scriptSig: new Uint8Array(101) }] }))).toBe('bad-cb-length')
    expect(checkTx(txOf({ inputs: [{ ...input, scriptSig: new Uint8Array(2) }] }))).toBeUndefined()
    expect(checkTx(txOf({ inputs: [input, txOf({}).inputs[0]!] }))).toBe('bad-txns-prevout-null')
  })
  it('refuses a transaction larger than a block', () => {
    expect(checkTx(txOf({ outputs: [{ value: Sat(0n), scriptPubKey: new Uint8Array(1_000_000) }] }))).toBe('bad-txns-oversize')
  })
})

describe('checkTxInputs', () => {
  const coin = (value: bigint, height = 1, coinbase = false): Coin => ({
    output: { value: value as Sat, scriptPubKey: P2A },
    height,
    coinbase,
  })
  it('gives the fee', () => {
    expect(checkTxInputs(txOf({}), [coin(1500n)], 10)).toEqual({ fee: 500n })
  })
  it('asks for the coin, its maturity, and enough value', () => {
    expect(checkTxInputs(txOf({}), [undefined], 10)).toBe('bad-txns-inputs-missingorspent')
    expect(checkTxInputs(txOf({}), [coin(999n)], 10)).toBe('bad-txns-in-belowout')
    expect(checkTxInputs(txOf({}), [coin(5000n, 1, true)], 100)).toBe('bad-txns-premature-spend-of-coinbase')
    expect(checkTxInputs(txOf({}), [coin(5000n, 1, true)], 101)).toEqual({ fee: 4000n })
    expect(checkTxInputs(txOf({}), [coin(MAX_MONEY + 1n)], 10)).toBe('bad-txns-inputvalues-outofrange')
  })
})

describe('lock times', () => {
  it('a lock time is the last height or time at which it is not final', () => {
    const at = (lockTime: number, sequence: number) => txOf({ lockTime, sequences: [sequence] })
    expect(isFinalTx(at(100, 0), 100, 0)).toBe(false)
    expect(isFinalTx(at(100, 0), 101, 0)).toBe(true)
    expect(isFinalTx(at(100, 0xffffffff), 1, 0)).toBe(true)
    expect(isFinalTx(at(500_000_000, 0), 600_000_000, 500_000_000)).toBe(false)
    expect(isFinalTx(at(500_000_000, 0), 1, 500_000_001)).toBe(true)
  })
  it('BIP 68 by height and by time', () => {
    const byHeight = sequenceLocks(txOf({ sequences: [10] }), [100], () => 0)
    expect(byHeight).toEqual({ height: 109, time: -1 })
    expect(sequenceLocksMet(byHeight, 109, 0)).toBe(false)
    expect(sequenceLocksMet(byHeight, 110, 0)).toBe(true)
    const byTime = sequenceLocks(txOf({ sequences: [0x400000 + 2] }), [100], (height) => 1000 + height)
    expect(byTime).toEqual({ height: -1, time: 1099 + 1024 - 1 })
  })
  it('B2: BIP 68 reads the version as uint32, and holds from 2 on', () => {
    const locked = (version: number) =>
      sequenceLocks(decodeTx(encodeTx(txOf({ version, sequences: [10] }))), [100], () => 0).height
    expect(locked(1)).toBe(-1)
    expect(locked(2)).toBe(109)
    expect(locked(0x80000000)).toBe(109)
    expect(locked(0xffffffff)).toBe(109)
  })
  it('the disable flag opts one input out', () => {
    expect(sequenceLocks(txOf({ sequences: [0x80000000 + 10, 3] }), [100, 50], () => 0)).toEqual({ height: 52, time: -1 })
  })
})

describe('signature operations', () => {
  const key = Uint8Array.of(2, ...new Uint8Array(32))
  const multisig = multisigScript(1, [key, key, key])
  const cost = (spent: Uint8Array, scriptSig: Uint8Array, witness: Uint8Array[]) => {
    const base = txOf({})
    const tx: Tx = { ...base, inputs: [{ ...base.inputs[0]!, scriptSig, witness }] }
    const prevouts: TxOutput[] = [{ value: Sat(0n), scriptPubKey: spent }]
    return sigOpsCost(tx, prevouts, MANDATORY_SCRIPT_FLAGS)
  }
  it('counts bare, P2SH and witness scripts', () => {
    expect(cost(multisig, NOTHING, [])).toBe(0)
    expect(cost(p2shOf(multisig), pushBytes(multisig), [])).toBe(12)
    expect(cost(p2wshOf(multisig), NOTHING, [multisig])).toBe(3)
    const nested = p2wshOf(multisig)
    expect(cost(p2shOf(nested), pushBytes(nested), [multisig])).toBe(3)
    expect(cost(buildScript(OP.OP_0, new Uint8Array(20)), NOTHING, [])).toBe(1)
    expect(
      sigOpsCost(txOf({ outputs: [{ value: Sat(0n), scriptPubKey: multisig }] }), [{ value: Sat(0n), scriptPubKey: P2A }], 0),
    ).toBe(80)
  })
})

describe('difficulty', () => {
  it('compact bits to targets and back', () => {
    expect(targetFromBits(0x1d00ffff)).toBe(0xffffn << 208n)
    expect(targetFromBits(0x207fffff)).toBe(0x7fffffn << 232n)
    for (const bits of [0x1d00ffff, 0x207fffff, 0x1b0404cb, 0x03123456, 0x02123400, 0x01120000])
      expect(bitsFromTarget(targetFromBits(bits)!)).toBe(bits)
    expect(bitsFromTarget(0x80n)).toBe(0x02008000)
    for (const bits of [0, 0x01003456, 0x04923456, 0x01fedcba, 0xff123456, 0x2100ffff + 0x2000000])
      expect(targetFromBits(bits)).toBeUndefined()
  })
  it('work of the first difficulty is 2^32 and a little', () => {
    expect(workFromBits(0x1d00ffff)).toBe(0x100010001n)
    expect(workFromBits(0)).toBe(0n)
  })
  it('a target over the limit of the network is refused whatever the hash', () => {
    expect(meetsProofOfWork(BlockHash(ZERO_HASH), 0x207fffff, regtest)).toBe(true)
    expect(meetsProofOfWork(BlockHash(ZERO_HASH), 0x207fffff, mainnet)).toBe(false)
  })

  const header = (time: number, bits: number): BlockHeader => ({ ...mainnet.genesis.header, time, bits })
  const next = (height: number, time: number, bits: number, firstTime: number) =>
    nextWorkRequired(mainnet, { height, header: header(time, bits) }, time + 1, () => header(firstTime, bits))
  // Bitcoin Core test/pow_tests.cpp, real periods of mainnet
  it('retargets as mainnet did', () => {
    expect(next(32255, 1262152739, 0x1d00ffff, 1261130161)).toBe(0x1d00d86a)
    expect(next(2015, 1233061996, 0x1d00ffff, 1231006505)).toBe(0x1d00ffff)
    expect(next(68543, 1279297671, 0x1c05a3f4, 1279008237)).toBe(0x1c0168fd)
    expect(next(46367, 1269211443, 0x1c387f6f, 1263163443)).toBe(0x1d00e1fd)
    expect(next(46366, 1269211443, 0x1c387f6f, 1263163443)).toBe(0x1c387f6f)
  })
  it('testnets fall to the least difficulty after twenty minutes, and return to the last real one', () => {
    const limit = bitsFromTarget(testnet4.powLimit)
    const previous = { height: 4040, header: header(1000, limit) }
    expect(nextWorkRequired(testnet4, { height: 4040, header: header(1000, 0x1c387f6f) }, 2201, () => header(0, 1))).toBe(limit)
    expect(nextWorkRequired(testnet4, previous, 2200, (height) => header(0, height === 4038 ? 0x1c387f6f : limit))).toBe(
      0x1c387f6f,
    )
  })
  it('BIP 94 retargets from the first block of the period', () => {
    const first = header(0, 0x1c387f6f)
    const last = { height: 2015, header: header(testnet4.targetTimespanSeconds, 0x1d00ffff) }
    expect(nextWorkRequired(testnet4, last, 1, () => first)).toBe(0x1c387f6f)
  })
  it('regtest never retargets', () => {
    expect(difficultyInterval(regtest)).toBe(144)
    expect(nextWorkRequired(regtest, { height: 143, header: header(1, 0x207fffff) }, 2, () => header(0, 1))).toBe(0x207fffff)
  })
})

const mine = (header: BlockHeader): BlockHeader => {
  for (let nonce = 0; ; nonce++) {
    const mined = { ...header, nonce }
    if (meetsProofOfWork(blockHash(mined), mined.bits, regtest)) return mined
  }
}

describe('checkHeader', () => {
  const previous = regtest.genesis.header
  const context = {
    network: regtest,
    previous: { height: 0, header: previous },
    medianTimePast: previous.time,
    now: previous.time + 10_000,
    headerAt: () => previous,
  }
  const child = (fields: Partial<BlockHeader>) =>
    mine({
      version: 4,
      previousHash: blockHash(previous),
      merkleRoot: ZERO_HASH,
      time: previous.time + 1,
      bits: 0x207fffff,
      nonce: 0,
      ...fields,
    })
  it('accepts a good one and names what is wrong with others', () => {
    expect(checkHeader(child({}), context)).toBeUndefined()
    expect(checkHeader(child({ previousHash: BlockHash(ZERO_HASH) }), context)).toBe('prev-blk-mismatch')
    expect(checkHeader(child({ bits: 0x207ffffe }), context)).toBe('bad-diffbits')
    expect(checkHeader(child({ time: previous.time }), context)).toBe('time-too-old')
    expect(checkHeader(child({ time: context.now + 7201 }), context)).toBe('time-too-new')
    expect(checkHeader(child({ time: context.now + 7200 }), context)).toBeUndefined()
    expect(checkHeader(child({ version: 3 }), context)).toBe('bad-version(0x00000003)')
    expect(checkHeader({ ...child({}), bits: 0x1d00ffff }, context)).toBe('high-hash')
  })
  it('BIP 94: the first block of a period is at most ten minutes before its parent', () => {
    const network = customNetwork(regtest, { name: 'warp', magic: regtest.magic, enforceBip94: true })
    const parent = { ...previous, time: previous.time + 5000 }
    const at = {
      ...context,
      network,
      previous: { height: 143, header: parent },
      medianTimePast: previous.time,
      headerAt: () => parent,
    }
    const after = (time: number) => checkHeader(child({ previousHash: blockHash(parent), time }), at)
    expect(after(parent.time - 600)).toBeUndefined()
    expect(after(parent.time - 601)).toBe('time-timewarp-attack')
  })
  it('median of up to eleven times', () => {
    expect(medianTimePast([3, 1, 2])).toBe(2)
    expect(medianTimePast([4, 1, 2, 3])).toBe(3)
    expect(() => medianTimePast([])).toThrow(RangeError)
  })
})

describe('checkBlock', () => {
  const blockOf = (transactions: Tx[], fields: Partial<BlockHeader> = {}): Block => ({
    header: mine({ ...regtest.genesis.header, version: 4, merkleRoot: merkleRoot(transactions.map(txid)), ...fields }),
    transactions,
  })
  const reserved = new Uint8Array(32)
  const coinbase = (height: number, others: Tx[] = []): Tx => {
    const base: Tx = {
      version: 2,
      inputs: [
        {
          outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
          scriptSig: Uint8Array.of(...coinbaseHeightScript(height), OP.OP_0),
          sequence: 0xffffffff,
          witness: [reserved],
        },
      ],
      outputs: [{ value: subsidy(height, regtest), scriptPubKey: P2A }],
      lockTime: 0,
    }
    const commitment = witnessCommitment([wtxid(base), ...others.map(wtxid)], reserved)
    return { ...base, outputs: [...base.outputs, { value: Sat(0n), scriptPubKey: witnessCommitmentScript(commitment) }] }
  }
  const spend = txOf({ inputs: [{ ...txOf({}).inputs[0]!, witness: [Uint8Array.of(1)] }] })
  const good = blockOf([coinbase(7, [spend]), spend])
  const at = { height: 7, medianTimePast: 1 }

  it('accepts a good block', () => {
    expect(checkBlock(good, regtest)).toBeUndefined()
    expect(checkBlockAt(good, regtest, at)).toBeUndefined()
    expect(checkCoinbaseAmount(good.transactions[0]!, 7, Sat(0n), regtest)).toBeUndefined()
  })
  it('refuses one whose coinbase is missing, repeated, greedy or of another height', () => {
    expect(checkBlock(blockOf([]), regtest)).toBe('bad-blk-length')
    expect(checkBlock(blockOf([spend]), regtest)).toBe('bad-cb-missing')
    expect(checkBlock(blockOf([coinbase(7), coinbase(8)]), regtest)).toBe('bad-cb-multiple')
    expect(checkBlockAt(good, regtest, { ...at, height: 8 })).toBe('bad-cb-height')
    expect(checkCoinbaseAmount(good.transactions[0]!, 150, Sat(0n), regtest)).toBe('bad-cb-amount')
  })
  it('refuses what the header does not commit to', () => {
    expect(checkBlock({ ...good, transactions: good.transactions.slice(0, 1) }, regtest)).toBe('bad-txnmrklroot')
    const [first] = good.transactions
    const other = { ...spend, inputs: [{ ...spend.inputs[0]!, witness: [Uint8Array.of(2)] }] }
    expect(checkBlockAt({ ...good, transactions: [first!, other] }, regtest, at)).toBe('bad-witness-merkle-match')
    const bare = { ...first!, inputs: [{ ...first!.inputs[0]!, witness: [] }] }
    expect(checkWitnessCommitment({ ...good, transactions: [bare, spend] }, true)).toBe('bad-witness-nonce-size')
    expect(checkWitnessCommitment(good, false)).toBe('unexpected-witness')
  })
  it('refuses transactions that are not final, B8: or spend one output twice in one transaction', () => {
    const locked = txOf({ lockTime: 7, sequences: [0] })
    expect(checkBlockAt(blockOf([coinbase(7, [locked]), locked]), regtest, at)).toBe('bad-txns-nonfinal')
    const twice = { ...spend, inputs: [spend.inputs[0]!, spend.inputs[0]!] }
    expect(checkBlock(blockOf([coinbase(7, [twice]), twice]), regtest)).toBe('bad-txns-inputs-duplicate')
  })
  it('refuses too much weight and too many signature operations', () => {
    const heavy = { ...spend, inputs: [{ ...spend.inputs[0]!, witness: [new Uint8Array(3_999_500)] }] }
    expect(checkBlockAt(blockOf([coinbase(7, [heavy]), heavy]), regtest, at)).toBe('bad-blk-weight')
    const sigs = txOf({ outputs: [{ value: Sat(0n), scriptPubKey: new Uint8Array(20_001).fill(OP.OP_CHECKSIG) }] })
    expect(checkBlock(blockOf([coinbase(7), sigs]), regtest)).toBe('bad-blk-sigops')
  })
  it('B8: BIP 30 is asked before BIP 34 and after 1,983,702, but for the two old repeats', () => {
    const some = BlockHash(ZERO_HASH)
    const bip34 = BlockHash('000000000000024b89b42a942fe0d9fea3bb44ab7bd1b19115dd6a759c0808b8')
    const repeat = BlockHash('00000000000a4d0a398161ffc163c503763b1f4360639393e0e4c8e300e0caec')
    const other = BlockHash('00000000000743f190a18c5577a3c2d2a1f610ae9601ac046a38084ccb7cd721')
    expect(enforcesBip30(mainnet, 91_842, repeat, undefined)).toBe(false)
    expect(enforcesBip30(mainnet, 91_880, other, undefined)).toBe(false)
    expect(enforcesBip30(mainnet, 91_880, repeat, undefined)).toBe(true)
    expect(enforcesBip30(mainnet, 91_842, some, undefined)).toBe(true)
    // The block at BIP 34's own height stands on none such yet.
    expect(enforcesBip30(mainnet, 227_931, bip34, undefined)).toBe(true)
    expect(enforcesBip30(mainnet, 227_932, some, bip34)).toBe(false)
    expect(enforcesBip30(mainnet, 1_983_701, some, bip34)).toBe(false)
    expect(enforcesBip30(mainnet, 1_983_702, some, bip34)).toBe(true)
    expect(enforcesBip30(mainnet, 227_932, some, some)).toBe(true)
    expect(enforcesBip30(testnet4, 2_000_000, some, undefined)).toBe(false)
  })
  it('signet: a block without its solution is refused, a trivial challenge asks for none', () => {
    expect(checkSignetSolution(good, regtest)).toBe(true)
    expect(checkSignetSolution(signet.genesis, signet)).toBe(true)
    expect(checkSignetSolution(good, signet)).toBe(false)
    expect(
      checkSignetSolution(
        good,
        customNetwork(signet, { name: 'mine', magic: signet.magic, signetChallenge: Uint8Array.of(OP.OP_1) }),
      ),
    ).toBe(true)
  })
})

describe('rules of a height', () => {
  it('subsidy halves, to nothing', () => {
    expect([0, 209_999, 210_000, 6_930_000, 210_000 * 64].map((height) => subsidy(height, mainnet))).toEqual([
      5_000_000_000n,
      5_000_000_000n,
      2_500_000_000n,
      0n,
      0n,
    ])
    expect(subsidy(6_720_000, mainnet)).toBe(1n)
    expect(subsidy(150, regtest)).toBe(2_500_000_000n)
  })
  it('script rules begin at their heights and spare the old exceptions', () => {
    const some = BlockHash('ab'.repeat(32))
    expect(scriptFlagsAt(regtest, 1, some)).toBe(MANDATORY_SCRIPT_FLAGS)
    expect(scriptFlagsAt(mainnet, 100, some)).toBe(VERIFY.P2SH | VERIFY.WITNESS | VERIFY.TAPROOT)
    expect(scriptFlagsAt(mainnet, 170_060, BlockHash('00000000000002dc756eebf4f49723ed8d30cc28a5f108eb94b1ba88ac4f9c22'))).toBe(0)
  })
})
