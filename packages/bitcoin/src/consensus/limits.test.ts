/** Blocks that stand exactly on a limit, and one step over it. */
import { describe, expect, it } from 'vitest'
import {
  blockBaseSize,
  blockWeight,
  merkleRoot,
  witnessCommitment,
  witnessCommitmentScript,
  type Block,
  type BlockHeader,
} from '../block.ts'
import { Txid, ZERO_HASH } from '../ids.ts'
import { customNetwork, networks } from '../networks.ts'
import { OP } from '../opcode.ts'
import { P2A } from '../script.ts'
import { NULL_VOUT, txid, wtxid, type Tx, type TxInput } from '../tx.ts'
import { MAX_MONEY, Sat } from '../units.ts'
import { checkBlock, checkBlockAt, checkWitnessCommitment, coinbaseHeightScript, withReservedValue } from './block.ts'
import { bitsFromTarget, nextWorkRequired } from './header.ts'
import { subsidy } from './rules.ts'
import { checkTx, checkTxInputs } from './tx.ts'

const { mainnet, regtest, testnet4 } = networks
const NOTHING = new Uint8Array(0)
const RESERVED = new Uint8Array(32)

const input = (fields: Partial<TxInput> = {}): TxInput => ({
  outpoint: { txid: Txid('22'.repeat(32)), vout: 0 },
  scriptSig: NOTHING,
  sequence: 0xffff_ffff,
  witness: [],
  ...fields,
})
const txOf = (fields: Partial<Tx> = {}): Tx => ({
  version: 2,
  inputs: [input()],
  outputs: [{ value: Sat(0n), scriptPubKey: P2A }],
  lockTime: 0,
  ...fields,
})
const coinbaseOf = (scripts: readonly Uint8Array[], witness: readonly Uint8Array[] = [RESERVED], height = 7): Tx =>
  txOf({
    inputs: [
      input({
        outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
        scriptSig: Uint8Array.of(...coinbaseHeightScript(height), OP.OP_0),
        witness,
      }),
    ],
    outputs: [P2A, ...scripts].map((scriptPubKey) => ({ value: Sat(0n), scriptPubKey })),
  })
const header: BlockHeader = { ...regtest.genesis.header, version: 4 }
const blockOf = (...transactions: Tx[]): Block => ({
  header: { ...header, merkleRoot: merkleRoot(transactions.map(txid)) },
  transactions,
})
const commitmentTo = (...rest: Tx[]): Uint8Array =>
  witnessCommitmentScript(witnessCommitment([coinbaseOf([]), ...rest].map(wtxid), RESERVED))
const alone = (block: Block) => checkBlock(block, regtest, false)
const at = { height: 7, medianTimePast: 1 }

describe('the height in a coinbase (BIP 34)', () => {
  it.each([
    [0, '00'],
    [1, '51'],
    [16, '60'],
    [17, '0111'],
    [127, '017f'],
    [128, '028000'],
    [255, '02ff00'],
    [256, '020001'],
    [32_767, '02ff7f'],
    [32_768, '03008000'],
    [65_536, '03000001'],
    [227_931, '035b7a03'],
    [8_388_607, '03ffff7f'],
    [8_388_608, '0400008000'],
  ])('%d is written %s', (height, hex) => {
    expect(Buffer.from(coinbaseHeightScript(height)).toString('hex')).toBe(hex)
  })

  it('in a longer push than the shortest is not the height', () => {
    const block = blockOf(coinbaseOf([], []))
    const longer = txOf({
      ...block.transactions[0]!,
      inputs: [{ ...block.transactions[0]!.inputs[0]!, scriptSig: Uint8Array.of(1, 7) }],
    })
    expect(checkBlockAt(block, regtest, at)).toBeUndefined()
    expect(checkBlockAt(blockOf(longer), regtest, at)).toBe('bad-cb-height')
  })

  it('is not asked for before its time', () => {
    const late = customNetwork(regtest, { name: 'late', magic: regtest.magic, bip34Height: 8 })
    expect(checkBlockAt(blockOf(coinbaseOf([], [], 99)), late, at)).toBeUndefined()
    expect(checkBlockAt(blockOf(coinbaseOf([], [], 99)), late, { ...at, height: 8 })).toBe('bad-cb-height')
  })
})

describe('the witness commitment (BIP 141)', () => {
  const spend = txOf({ inputs: [input({ witness: [Uint8Array.of(1)] })] })
  const wrong = witnessCommitmentScript(new Uint8Array(32))
  const check = (coinbase: Tx, expected = true) => checkWitnessCommitment(blockOf(coinbase, spend), expected)

  it('is the last output that looks like one', () => {
    expect(check(coinbaseOf([wrong, commitmentTo(spend)]))).toBeUndefined()
    expect(check(coinbaseOf([commitmentTo(spend), wrong]))).toBe('bad-witness-merkle-match')
  })
  it('may be followed by more bytes, and is none when a byte is missing', () => {
    expect(check(coinbaseOf([Uint8Array.of(...commitmentTo(spend), 1, 2, 3)]))).toBeUndefined()
    expect(check(coinbaseOf([commitmentTo(spend).subarray(0, 37)]))).toBe('unexpected-witness')
  })
  it('needs one reserved value of 32 bytes in the coinbase, whose bytes are free', () => {
    for (const witness of [[], [new Uint8Array(31)], [new Uint8Array(33)], [RESERVED, RESERVED], [RESERVED, NOTHING]])
      expect(check(coinbaseOf([commitmentTo(spend)], witness))).toBe('bad-witness-nonce-size')
    const reserved = new Uint8Array(32).fill(9)
    const commitment = witnessCommitment([coinbaseOf([]), spend].map(wtxid), reserved)
    expect(check(coinbaseOf([witnessCommitmentScript(commitment)], [reserved]))).toBeUndefined()
  })
  it('is filled in for who hands in a block without the reserved value', () => {
    const without = blockOf(coinbaseOf([commitmentTo(spend)], []), spend)
    expect(checkBlockAt(without, regtest, at)).toBe('bad-witness-nonce-size')
    expect(checkBlockAt(withReservedValue(without), regtest, at)).toBeUndefined()
    for (const other of [blockOf(coinbaseOf([commitmentTo(spend)], [NOTHING]), spend), blockOf(coinbaseOf([], []))])
      expect(withReservedValue(other)).toBe(other)
  })
  it('may be left out by a block without witnesses, the coinbase its own included', () => {
    const plain = txOf()
    expect(checkWitnessCommitment(blockOf(coinbaseOf([], []), plain), true)).toBeUndefined()
    expect(checkWitnessCommitment(blockOf(coinbaseOf([], [RESERVED]), plain), true)).toBe('unexpected-witness')
    expect(checkWitnessCommitment(blockOf(coinbaseOf([wrong], []), plain), true)).toBe('bad-witness-nonce-size')
  })
  it('says nothing before segwit: then any witness is too much', () => {
    const early = customNetwork(regtest, { name: 'early', magic: regtest.magic, segwitHeight: 8 })
    const block = blockOf(coinbaseOf([commitmentTo(spend)]), spend)
    expect(checkBlockAt(block, early, at)).toBe('unexpected-witness')
    expect(checkBlockAt(blockOf(coinbaseOf([wrong], [])), early, at)).toBeUndefined()
    expect(checkBlockAt(block, regtest, at)).toBeUndefined()
  })
})

describe('the size of a block', () => {
  const padded = (bytes: number): Tx => txOf({ outputs: [{ value: Sat(0n), scriptPubKey: new Uint8Array(bytes) }] })

  it('without witnesses is a million bytes at most', () => {
    const spare = 1_000_000 - blockBaseSize(blockOf(coinbaseOf([], []), padded(500_000), padded(400_000)))
    const full = blockOf(coinbaseOf([], []), padded(500_000), padded(400_000 + spare))
    expect(blockBaseSize(full)).toBe(1_000_000)
    expect(alone(full)).toBeUndefined()
    expect(checkBlockAt(full, regtest, at)).toBeUndefined()
    expect(alone(blockOf(coinbaseOf([], []), padded(500_000), padded(400_001 + spare)))).toBe('bad-blk-length')
  })

  it('weighs four million units at most', () => {
    const heavy = (bytes: number): Block => {
      const tx = txOf({ inputs: [input({ witness: [new Uint8Array(bytes)] })] })
      return blockOf(coinbaseOf([commitmentTo(tx)]), tx)
    }
    const spare = 4_000_000 - blockWeight(heavy(3_900_000))
    expect(blockWeight(heavy(3_900_000 + spare))).toBe(4_000_000)
    expect(checkBlockAt(heavy(3_900_000 + spare), regtest, at)).toBeUndefined()
    expect(checkBlockAt(heavy(3_900_001 + spare), regtest, at)).toBe('bad-blk-weight')
  })

  it('allows 20,000 signature operations outside of witnesses', () => {
    const sigs = (count: number): Tx =>
      txOf({ outputs: [{ value: Sat(0n), scriptPubKey: new Uint8Array(count).fill(OP.OP_CHECKSIGVERIFY) }] })
    expect(alone(blockOf(coinbaseOf([], []), sigs(20_000)))).toBeUndefined()
    expect(alone(blockOf(coinbaseOf([], []), sigs(10_000), sigs(10_001)))).toBe('bad-blk-sigops')
    const multi = txOf({ outputs: [{ value: Sat(0n), scriptPubKey: Uint8Array.of(OP.OP_1, OP.OP_CHECKMULTISIG) }] })
    expect(alone(blockOf(coinbaseOf([], []), sigs(19_980), multi))).toBeUndefined()
    expect(alone(blockOf(coinbaseOf([], []), sigs(19_981), multi))).toBe('bad-blk-sigops')
  })
})

describe('amounts', () => {
  const paying = (...values: bigint[]) =>
    checkTx(txOf({ outputs: values.map((value) => ({ value: value as Sat, scriptPubKey: P2A })) }))

  it('may be zero, and their sums never leave the range of money', () => {
    expect(paying(0n)).toBeUndefined()
    expect(paying(MAX_MONEY - 1n, 1n)).toBeUndefined()
    expect(paying(MAX_MONEY, MAX_MONEY, MAX_MONEY)).toBe('bad-txns-txouttotal-toolarge')
    // CVE-2010-5139: two halves of 2^64 sum to nothing in 64 bits.
    expect(paying((1n << 63n) - 1n, (1n << 63n) - 1n)).toBe('bad-txns-vout-toolarge')
    expect(paying(-(1n << 63n))).toBe('bad-txns-vout-negative')
  })
  it('of inputs that are spent together never leave it either', () => {
    const coin = (value: bigint, coinbase = false) => ({ output: { value: Sat(value), scriptPubKey: P2A }, height: 1, coinbase })
    const two = txOf({ inputs: [input(), input({ outpoint: { txid: Txid('22'.repeat(32)), vout: 1 } })] })
    expect(checkTxInputs(two, [coin(MAX_MONEY), coin(1n)], 9)).toBe('bad-txns-inputvalues-outofrange')
    expect(checkTxInputs(two, [coin(MAX_MONEY - 1n), coin(1n)], 9)).toEqual({ fee: MAX_MONEY })
    // A coin that is missing is told before one that is not ripe.
    expect(checkTxInputs(two, [coin(1n, true), undefined], 9)).toBe('bad-txns-inputs-missingorspent')
    expect(checkTxInputs(two, [coin(1n, true)], 9)).toBe('bad-txns-inputs-missingorspent')
  })
  it('of all subsidies together stay below 21 million coins', () => {
    let sum = 0n
    for (let era = 0; era < 70; era++) sum += subsidy(era * 210_000, mainnet) * 210_000n
    expect(sum).toBe(2_099_999_997_690_000n)
    expect(sum < MAX_MONEY).toBe(true)
    const withHalving = customNetwork(regtest, { name: 'short', magic: regtest.magic, subsidyHalvingInterval: 1 })
    expect(subsidy(63, withHalving)).toBe(0n)
    expect(subsidy(200, withHalving)).toBe(0n)
  })
})

describe('difficulty on test networks (BIP 94)', () => {
  const limit = bitsFromTarget(testnet4.powLimit)
  const real = 0x1c387f6f
  const headerOf = (time: number, bits: number): BlockHeader => ({ ...header, time, bits })
  const period = testnet4.targetTimespanSeconds

  it('survives a storm of blocks of the least difficulty at the end of a period', () => {
    const chain = (height: number) => headerOf(height * 600, height === 2016 ? real : limit)
    const last = { height: 4031, header: headerOf(2016 * 600 + period, limit) }
    // Of the period 2016 to 4031 only the first block has the real difficulty; the time was met, so it stays.
    expect(nextWorkRequired(testnet4, last, last.header.time + 1, chain)).toBe(real)
    const old = customNetwork(testnet4, { name: 'testnet3', magic: testnet4.magic, enforceBip94: false })
    expect(nextWorkRequired(old, last, last.header.time + 1, chain)).toBe(limit)
    // The twenty minutes do not count for the first block of a period.
    expect(nextWorkRequired(testnet4, last, last.header.time + 1201, chain)).toBe(real)
  })
  it('changes by a factor of four at most', () => {
    const chain = (height: number) => headerOf(1_000_000_000 + height, real)
    const after = (took: number) =>
      nextWorkRequired(testnet4, { height: 4031, header: headerOf(1_000_000_000 + 2016 + took, real) }, 0, chain)
    expect(after(0)).toBe(after(period / 4))
    expect(after(period / 4 - 1)).toBe(after(period / 4))
    expect(after(period / 4 + 1000)).not.toBe(after(period / 4))
    expect(after(period * 9)).toBe(after(period * 4))
    expect(after(period)).toBe(real)
    // Backwards in time, which an honest clock can do by less than two hours.
    expect(after(-7000)).toBe(after(period / 4))
  })
  it('walks back to the real difficulty no further than the start of the period', () => {
    const asked: number[] = []
    const chain = (height: number) => {
      asked.push(height)
      return headerOf(0, limit)
    }
    expect(nextWorkRequired(testnet4, { height: 2020, header: headerOf(5000, limit) }, 5001, chain)).toBe(limit)
    expect(asked).toEqual([2019, 2018, 2017, 2016])
  })
})
