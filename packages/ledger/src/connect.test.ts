import { describe, expect, it } from 'vitest'
import {
  blockHash,
  buildScript,
  controlBlock,
  customNetwork,
  decodeBlock,
  encodeBlock,
  merkleRoot,
  networks,
  OP,
  outpointKey,
  p2tr,
  p2wshOf,
  Sat,
  tapLeafHash,
  txid,
  witnessCommitment,
  witnessCommitmentScript,
  wtxid,
  type Block,
  type Tx,
} from '@leyden/bitcoin'
import { pointFromSecret, taprootTweakPoint, xOnlyFromPoint } from '@leyden/crypto'
import {
  ANYONE,
  connect,
  disconnect,
  grow,
  mine,
  outputOf,
  pay,
  toyChain,
  TRUE_SCRIPT,
  type MineOptions,
  type ToyChain,
} from './testing.ts'
import { isViolation } from './violation.ts'

const COIN = 100_000_000n
const SUBSIDY = 50n * COIN

/** A chain with one coinbase that may be spent. */
const ripe = (network = networks.regtest): { chain: ToyChain; coinbase: Tx; coinbases: Tx[] } => {
  const chain = toyChain(network)
  const coinbases = grow(chain, 102)
  return { chain, coinbase: coinbases[0]!, coinbases }
}
const reasonOf = (chain: ToyChain, transactions: readonly Tx[], options: MineOptions = {}): string => {
  const before = new Map(chain.coins)
  const result = connect(chain, mine(chain, transactions, options))
  if (!isViolation(result)) return 'ok'
  expect(chain.coins).toEqual(before)
  return result.reason
}
/** The block with other transactions, its roots made right again. */
const withTransactions = (block: Block, transactions: readonly Tx[]): Block => {
  const [coinbase, ...rest] = transactions as [Tx, ...Tx[]]
  const commitment = witnessCommitmentScript(witnessCommitment([coinbase, ...rest].map(wtxid), new Uint8Array(32)))
  const sealed = { ...coinbase, outputs: [coinbase.outputs[0]!, { value: Sat(0n), scriptPubKey: commitment }] }
  return { header: { ...block.header, merkleRoot: merkleRoot([sealed, ...rest].map(txid)) }, transactions: [sealed, ...rest] }
}
const changeCoinbase =
  (change: (coinbase: Tx) => Tx) =>
  (block: Block): Block =>
    withTransactions(block, [change(block.transactions[0]!), ...block.transactions.slice(1)])

describe('coins', () => {
  it('are moved by a block: what it spends goes, what it makes comes', () => {
    const { chain, coinbase } = ripe()
    const tx = pay([outputOf(coinbase)], [20n * COIN, 30n * COIN])
    const size = chain.coins.size
    const result = connect(chain, mine(chain, [tx]))
    expect(isViolation(result)).toBe(false)
    expect(chain.coins.has(outpointKey(outputOf(coinbase)))).toBe(false)
    expect(chain.coins.get(outpointKey(outputOf(tx, 1)))).toMatchObject({
      height: 103,
      coinbase: false,
      output: { value: 30n * COIN },
    })
    expect(chain.coins.size).toBe(size + 2)
  })

  it('come back as they were when the block is taken off', () => {
    const { chain, coinbase } = ripe()
    const before = new Map(chain.coins)
    const first = pay([outputOf(coinbase)], [49n * COIN])
    const second = pay([outputOf(first)], [48n * COIN, 1n])
    grow(chain, 1, [first, second], 2n * COIN - 1n)
    expect(chain.coins.has(outpointKey(outputOf(first)))).toBe(false)
    disconnect(chain)
    expect(chain.coins).toEqual(before)
  })

  it('must exist and not be spent', () => {
    const { chain, coinbase } = ripe()
    const tx = pay([outputOf(coinbase)], [SUBSIDY])
    expect(reasonOf(chain, [pay([{ ...outputOf(coinbase), vout: 7 }], [1n])])).toBe('bad-txns-inputs-missingorspent')
    expect(reasonOf(chain, [tx, pay([outputOf(coinbase)], [1n])])).toBe('bad-txns-inputs-missingorspent')
    expect(reasonOf(chain, [tx])).toBe('ok')
    expect(reasonOf(chain, [pay([outputOf(coinbase)], [1n])])).toBe('bad-txns-inputs-missingorspent')
  })

  it('made in the block may be spent only after they were made', () => {
    const { chain, coinbase } = ripe()
    const first = pay([outputOf(coinbase)], [SUBSIDY])
    const second = pay([outputOf(first)], [SUBSIDY])
    expect(reasonOf(chain, [second, first])).toBe('bad-txns-inputs-missingorspent')
    expect(reasonOf(chain, [first, second])).toBe('ok')
  })

  it('of a coinbase rest for 100 blocks', () => {
    const chain = toyChain()
    const [coinbase] = grow(chain, 99) as [Tx]
    const tx = pay([outputOf(coinbase)], [SUBSIDY])
    expect(reasonOf(chain, [tx])).toBe('bad-txns-premature-spend-of-coinbase')
    grow(chain, 1)
    expect(reasonOf(chain, [tx])).toBe('ok')
  })

  it('cannot give more than they hold', () => {
    const { chain, coinbase } = ripe()
    expect(reasonOf(chain, [pay([outputOf(coinbase)], [SUBSIDY + 1n])])).toBe('bad-txns-in-belowout')
  })
})

describe('the coinbase', () => {
  it('takes subsidy and fees, not a satoshi more', () => {
    const { chain, coinbase } = ripe()
    const tx = pay([outputOf(coinbase)], [SUBSIDY - 1000n])
    expect(reasonOf(chain, [tx], { fees: 1001n })).toBe('bad-cb-amount')
    expect(reasonOf(chain, [tx], { fees: 1000n })).toBe('ok')
  })

  it('gets half from block 150 on', () => {
    const chain = toyChain()
    grow(chain, 149)
    const greedy = changeCoinbase((tx) => ({ ...tx, outputs: [{ ...tx.outputs[0]!, value: Sat(SUBSIDY) }] }))
    expect(reasonOf(chain, [], { change: greedy })).toBe('bad-cb-amount')
    const [coinbase] = grow(chain, 1) as [Tx]
    expect(coinbase.outputs[0]!.value).toBe(25n * COIN)
  })

  it('begins with the height (BIP 34)', () => {
    const chain = toyChain()
    grow(chain, 20)
    const wrong = changeCoinbase((tx) => ({ ...tx, inputs: [{ ...tx.inputs[0]!, scriptSig: Uint8Array.of(1, 22, 0) }] }))
    expect(reasonOf(chain, [], { change: wrong })).toBe('bad-cb-height')
  })

  it('is there, and there is one', () => {
    const { chain, coinbase } = ripe()
    const tx = pay([outputOf(coinbase)], [SUBSIDY])
    const none = (block: Block): Block => ({
      header: { ...block.header, merkleRoot: merkleRoot([txid(tx)]) },
      transactions: [tx],
    })
    expect(reasonOf(chain, [], { change: none })).toBe('bad-cb-missing')
    const two = (block: Block): Block => withTransactions(block, [block.transactions[0]!, coinbase])
    expect(reasonOf(chain, [], { change: two })).toBe('bad-cb-multiple')
  })
})

describe('transactions in a block', () => {
  it('B8: one that spends the same output twice is refused (CVE-2018-17144)', () => {
    const { chain, coinbase } = ripe()
    const twice = pay([outputOf(coinbase), outputOf(coinbase)], [2n * SUBSIDY])
    expect(reasonOf(chain, [twice])).toBe('bad-txns-inputs-duplicate')
  })

  it('B8: a coinbase may not repeat one that is unspent, where heights do not make them differ (BIP 30)', () => {
    const old = customNetwork(networks.regtest, { name: 'old', magic: Uint8Array.of(1, 2, 3, 4), bip34Height: 1_000_000 })
    const chain = toyChain(old)
    const [coinbase] = grow(chain, 1) as [Tx]
    grow(chain, 101)
    const again = (block: Block): Block => withTransactions(block, [coinbase])
    expect(reasonOf(chain, [], { change: again })).toBe('bad-txns-BIP30')
    grow(chain, 1, [pay([outputOf(coinbase)], [SUBSIDY])])
    expect(reasonOf(chain, [], { change: again })).toBe('ok')
  })

  it('B2: relative lock times hold for versions that a signed number would call negative (BIP 68)', () => {
    const { chain, coinbase, coinbases } = ripe()
    const locked = (version: number, sequence: number, from = coinbase): Tx =>
      pay([{ ...outputOf(from), sequence }], [SUBSIDY], { version })
    expect(reasonOf(chain, [locked(0xffff_ffff, 103)])).toBe('bad-txns-nonfinal')
    expect(reasonOf(chain, [locked(2, 103)])).toBe('bad-txns-nonfinal')
    expect(reasonOf(chain, [locked(1, 103)])).toBe('ok')
    grow(chain, 3)
    expect(reasonOf(chain, [locked(0xffff_ffff, 103, coinbases[1])])).toBe('ok')
  })

  it('wait in time as well as in blocks (BIP 68 by median time)', () => {
    const { chain } = ripe()
    const [fresh] = grow(chain, 1) as [Tx]
    grow(chain, 99)
    const minutes = (100 * 600) / 512
    const sequence = 0x40_0000 | Math.ceil(minutes)
    const tx = pay([{ ...outputOf(fresh), sequence }], [SUBSIDY])
    expect(reasonOf(chain, [tx])).toBe('bad-txns-nonfinal')
    grow(chain, 2)
    expect(reasonOf(chain, [tx])).toBe('ok')
  })

  it('with a lock time wait for it, by median time (BIP 113)', () => {
    const { chain, coinbase, coinbases } = ripe()
    const tip = chain.tip.height
    const until = (lockTime: number, from = coinbase): Tx => pay([outputOf(from)], [SUBSIDY], { lockTime })
    expect(reasonOf(chain, [until(tip + 1)])).toBe('bad-txns-nonfinal')
    expect(reasonOf(chain, [until(chain.tip.header.time)])).toBe('bad-txns-nonfinal')
    expect(reasonOf(chain, [until(tip)])).toBe('ok')
    expect(reasonOf(chain, [until(chain.tip.header.time - 6000, coinbases[1])])).toBe('ok')
  })

  it('run their scripts in the interpreter', () => {
    const { chain, coinbase } = ripe()
    const never = buildScript(OP.OP_0)
    const wrongScript = pay([{ ...outputOf(coinbase), witness: [never] }], [SUBSIDY])
    expect(reasonOf(chain, [wrongScript])).toBe('mandatory-script-verify-flag-failed (Witness program hash mismatch)')
    const trap = pay([outputOf(coinbase)], [SUBSIDY], { scriptPubKey: p2wshOf(never) })
    const victim = pay([{ ...outputOf(trap), witness: [never] }], [SUBSIDY])
    expect(reasonOf(chain, [trap, victim])).toBe(
      'mandatory-script-verify-flag-failed (Script evaluated without error but finished with a false/empty top stack element)',
    )
  })

  it('obey CHECKLOCKTIMEVERIFY and CHECKSEQUENCEVERIFY (BIP 65, BIP 112)', () => {
    const { chain, coinbase } = ripe()
    const cltv = buildScript(200n, OP.OP_CHECKLOCKTIMEVERIFY)
    const csv = buildScript(5n, OP.OP_CHECKSEQUENCEVERIFY)
    const fund = pay([outputOf(coinbase)], [SUBSIDY / 2n], { scriptPubKey: p2wshOf(cltv) })
    const both = { ...fund, outputs: [...fund.outputs, { value: Sat(SUBSIDY / 2n), scriptPubKey: p2wshOf(csv) }] }
    grow(chain, 1, [both])
    const early = pay([{ ...outputOf(both, 0), witness: [cltv] }], [1n], { lockTime: 100 })
    expect(reasonOf(chain, [early])).toBe('mandatory-script-verify-flag-failed (Locktime requirement not satisfied)')
    const hasty = pay([{ ...outputOf(both, 1), witness: [csv], sequence: 1 }], [1n])
    expect(reasonOf(chain, [hasty])).toBe('mandatory-script-verify-flag-failed (Locktime requirement not satisfied)')
    grow(chain, 4)
    expect(reasonOf(chain, [pay([{ ...outputOf(both, 1), witness: [csv], sequence: 5 }], [1n])])).toBe('ok')
  })

  it('have a limit of signature operations together', () => {
    const { chain, coinbase } = ripe()
    const heavy = Uint8Array.from({ length: 9000 }, () => OP.OP_CHECKSIG)
    const tx = pay([outputOf(coinbase)], [1n, 1n, 1n], { scriptPubKey: heavy })
    expect(reasonOf(chain, [tx])).toBe('bad-blk-sigops')
  })
})

describe('what the header commits to', () => {
  it('is the list of transactions', () => {
    const { chain, coinbase } = ripe()
    const other = (block: Block): Block => ({
      ...block,
      transactions: [block.transactions[0]!, pay([outputOf(coinbase)], [SUBSIDY])],
    })
    expect(connect(chain, mine(chain, [], { change: other }))).toMatchObject({ reason: 'bad-txnmrklroot', mutated: true })
  })

  it('B5: a list whose end is repeated has the same root and is refused as mutated only (CVE-2012-2459)', () => {
    const { chain, coinbase, coinbases } = ripe()
    const txs = [coinbase, coinbases[1]!].map((tx) => pay([outputOf(tx)], [SUBSIDY]))
    const block = mine(chain, txs)
    const [first, second, third] = block.transactions as [Tx, Tx, Tx]
    const mutated = { ...block, transactions: [first, second, third, third] }
    expect(blockHash(mutated.header)).toBe(blockHash(block.header))
    expect(connect(chain, mutated)).toMatchObject({ reason: 'bad-txns-duplicate', mutated: true })
    expect(isViolation(connect(chain, block))).toBe(false)
  })

  it('B5: a changed witness is refused as mutated only (BIP 141)', () => {
    const { chain, coinbase } = ripe()
    const block = mine(chain, [pay([outputOf(coinbase)], [SUBSIDY])])
    const [first, second] = block.transactions as [Tx, Tx]
    const changed = { ...second, inputs: second.inputs.map((input) => ({ ...input, witness: [Uint8Array.of(1), TRUE_SCRIPT] })) }
    expect(connect(chain, { ...block, transactions: [first, changed] })).toMatchObject({
      reason: 'bad-witness-merkle-match',
      mutated: true,
    })
    expect(isViolation(connect(chain, block))).toBe(false)
  })

  it('must be there when there is a witness', () => {
    const { chain, coinbase } = ripe()
    const bare = (block: Block): Block => {
      const tx = block.transactions[0]!
      const plain = { ...tx, outputs: [tx.outputs[0]!], inputs: [{ ...tx.inputs[0]!, witness: [] }] }
      const transactions = [plain, ...block.transactions.slice(1)]
      return { header: { ...block.header, merkleRoot: merkleRoot(transactions.map(txid)) }, transactions }
    }
    expect(reasonOf(chain, [pay([outputOf(coinbase)], [SUBSIDY])], { change: bare })).toBe('unexpected-witness')
    expect(reasonOf(chain, [], { change: bare })).toBe('ok')
  })
})

describe('B1: a block has the limits of consensus, no others', () => {
  it('so half a million witness items behind an OP_SUCCESS are valid (the block that halted btcd)', () => {
    const { chain, coinbase } = ripe()
    const leaf = Uint8Array.of(0x50)
    const internal = xOnlyFromPoint(pointFromSecret(new Uint8Array(32).fill(1)))
    const { xonly, parity } = taprootTweakPoint(internal, tapLeafHash(leaf))
    const funding = pay([outputOf(coinbase)], [SUBSIDY], { scriptPubKey: p2tr(xonly) })
    const none = new Uint8Array(0)
    const witness = [...Array.from({ length: 500_001 }, () => none), leaf, controlBlock(internal, parity, [])]
    const spend = pay([{ ...outputOf(funding), witness }], [SUBSIDY])
    const block = decodeBlock(encodeBlock(mine(chain, [funding, spend])))
    expect(block.transactions[2]!.inputs[0]!.witness).toHaveLength(500_003)
    expect(isViolation(connect(chain, block))).toBe(false)
  })
})

describe('undo data', () => {
  it('of another block is a fault', () => {
    const { chain, coinbase } = ripe()
    grow(chain, 1, [pay([outputOf(coinbase)], [SUBSIDY])])
    chain.undo.set(chain.tip.hash, [])
    expect(() => disconnect(chain)).toThrow('shorter')
    const coin = { output: { value: Sat(1n), scriptPubKey: ANYONE }, height: 1, coinbase: false }
    chain.undo.set(chain.tip.hash, [coin, coin])
    expect(() => disconnect(chain)).toThrow('longer')
  })
})
