import { describe, expect, it } from 'vitest'
import * as fc from 'fast-check'
import { outpointKey, type Block, type Coin, type Outpoint, type Tx } from '@leyden/bitcoin'
import { planReorg, type HeaderEntry } from './header-tree.ts'
import { connect, disconnect, grow, mine, outputOf, pay, toyChain, type ToyChain } from './testing.ts'
import { isViolation } from './violation.ts'

/** Moves the tip by the plan, every rule checked again on the way up. */
const moveTo = (chain: ToyChain, target: HeaderEntry): void => {
  const plan = planReorg(chain.tip, target)
  for (const _ of plan.disconnect) disconnect(chain)
  for (const entry of plan.connect) {
    const result = connect(chain, chain.blocks.get(entry.hash) as Block)
    if (isViolation(result)) throw new Error(result.reason)
  }
}

const replay = (chain: ToyChain): Map<string, Coin> => {
  const blocks: Block[] = []
  for (let at = chain.tip; at.parent !== undefined; at = at.parent) blocks.push(chain.blocks.get(at.hash) as Block)
  const fresh = toyChain()
  for (const block of blocks.reverse()) {
    const result = connect(fresh, block)
    if (isViolation(result)) throw new Error(result.reason)
  }
  return fresh.coins
}

const spendable = (chain: ToyChain): { outpoint: Outpoint; value: bigint }[] => {
  const found: { outpoint: Outpoint; value: bigint }[] = []
  for (const [key, { output, height, coinbase }] of chain.coins) {
    if (output.value < 1000n || (coinbase && chain.tip.height + 1 - height < 100)) continue
    found.push({ outpoint: { txid: key.slice(0, 64) as Outpoint['txid'], vout: Number(key.slice(65)) }, value: output.value })
  }
  return found.sort((a, b) => outpointKey(a.outpoint).localeCompare(outpointKey(b.outpoint)))
}

/** Some transactions that are valid on the tip, later ones spending earlier ones. */
const makeTransactions = (chain: ToyChain, choices: readonly number[]): Tx[] => {
  const open = spendable(chain)
  const transactions: Tx[] = []
  for (const choice of choices) {
    const at = choice % Math.max(1, open.length)
    const [from] = open.splice(at, 1)
    if (from === undefined) break
    const half = from.value / 2n
    const tx = pay([from.outpoint], [half, from.value - half])
    transactions.push(tx)
    open.push({ outpoint: outputOf(tx, 0), value: half }, { outpoint: outputOf(tx, 1), value: from.value - half })
  }
  return transactions
}

const steps = fc.array(fc.record({ on: fc.nat(1000), choices: fc.array(fc.nat(1000), { maxLength: 4 }) }), {
  minLength: 1,
  maxLength: 15,
})

describe('a reorganisation', () => {
  const base = toyChain()
  grow(base, 103)

  it('between any two blocks of any tree gives the coins of a replay from genesis', () => {
    fc.assert(
      fc.property(steps, fc.array(fc.nat(1000), { maxLength: 6 }), (list, jumps) => {
        const chain: ToyChain = { ...base, coins: new Map(base.coins), tip: base.tip }
        const tips = [chain.tip]
        for (const { on, choices } of list) {
          moveTo(chain, tips[on % tips.length]!)
          const block = mine(chain, makeTransactions(chain, choices))
          base.extraNonce = chain.extraNonce
          const result = connect(chain, block)
          if (isViolation(result)) throw new Error(result.reason)
          tips.push(chain.tip)
        }
        const expected = new Map<HeaderEntry, Map<string, Coin>>()
        for (const jump of jumps) {
          const target = tips[jump % tips.length]!
          moveTo(chain, target)
          const coins = expected.get(target) ?? replay(chain)
          expected.set(target, coins)
          expect(chain.coins).toEqual(coins)
        }
      }),
      { numRuns: 8 },
    )
  })
})
