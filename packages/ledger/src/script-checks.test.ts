import { blockHash, buildScript, OP, p2wshOf, scriptFlagsAt, type Block } from '@leyden/bitcoin'
import { describe, expect, it } from 'vitest'
import { coinsNeeded } from './coin.ts'
import { connectBlock, connectCoins, type CoinsConnected } from './connect.ts'
import { placeHeader } from './header-tree.ts'
import { checkScripts, checkScriptsHere, pendingSpends, scriptViolation } from './script-checks.ts'
import { grow, mine, outputOf, pay, toyChain, TRUE_SCRIPT, viewOf, type ToyChain } from './testing.ts'
import { isViolation } from './violation.ts'

const SUBSIDY = 5_000_000_000n
const never = buildScript(OP.OP_FALSE)

/** A chain that has so many coinbases to spend. */
const matureChain = (count: number) => {
  const chain = toyChain()
  const coinbases = grow(chain, count)
  grow(chain, 100)
  return { chain, coinbases }
}

/** A block of three spends, the second with two inputs; `broken` names inputs (transaction, input) with a wrong witness. */
const blockOf = (broken: readonly (readonly [number, number])[] = []) => {
  const { chain, coinbases } = matureChain(4)
  const outputs = coinbases.map((tx) => outputOf(tx))
  const spend = (txIndex: number, from: readonly number[]) =>
    pay(
      from.map((i, at) => ({
        ...outputs[i]!,
        witness: broken.some(([t, input]) => t === txIndex && input === at) ? [never] : [TRUE_SCRIPT],
      })),
      [SUBSIDY],
    )
  const block = mine(chain, [spend(1, [0]), spend(2, [1, 2]), spend(3, [3])], { fees: SUBSIDY })
  return { chain, block }
}

const context = (chain: ToyChain, block: Block) => {
  const entry = placeHeader(chain.tree, block.header, block.header.time)
  if (isViolation(entry)) throw new Error(entry.reason)
  return { network: chain.network, entry, view: viewOf(chain.coins, coinsNeeded(block)) }
}

describe('the scripts of a block', () => {
  it('are left over by the coins, with what they spend', () => {
    const { chain, block } = blockOf()
    const { scripts, undo, fees } = connectCoins(block, context(chain, block)) as CoinsConnected
    expect(scripts).toEqual({
      block,
      undo,
      flags: scriptFlagsAt(chain.network, 105, blockHash(block.header)),
      pending: [1, 2, 3],
    })
    expect(fees).toEqual([0n, SUBSIDY, 0n])
    expect([...pendingSpends(scripts)].map(({ txIndex, prevouts }) => [txIndex, prevouts.length])).toEqual([
      [1, 1],
      [2, 2],
      [3, 1],
    ])
    expect(checkScripts(scripts)).toBeUndefined()
  })

  it('fail at the first bad input in block order, whatever comes behind it', async () => {
    const { chain, block } = blockOf([
      [2, 1],
      [3, 0],
    ])
    const { scripts } = connectCoins(block, context(chain, block)) as CoinsConnected
    const failed = checkScripts(scripts)
    expect(failed).toEqual({ txIndex: 2, inputIndex: 1, error: 'WITNESS_PROGRAM_MISMATCH' })
    expect(await checkScriptsHere(scripts)).toEqual(failed)
    expect(connectBlock(block, context(chain, block))).toEqual(scriptViolation(scripts, failed!))
  })

  it('are not asked of transactions known to pass, and the others keep their coins', () => {
    const { chain, block } = blockOf([[2, 1]])
    let asked = 0
    const result = connectCoins(block, { ...context(chain, block), scriptsPassed: () => asked++ === 0 }) as CoinsConnected
    expect(result.scripts.pending).toEqual([2, 3])
    expect(checkScripts(result.scripts)).toEqual({ txIndex: 2, inputIndex: 1, error: 'WITNESS_PROGRAM_MISMATCH' })
    expect(checkScripts({ ...result.scripts, pending: [3] })).toBeUndefined()
  })

  it('need undo data of the same block', () => {
    const { chain, block } = blockOf()
    const { scripts, undo } = connectCoins(block, context(chain, block)) as CoinsConnected
    expect(() => checkScripts({ ...scripts, undo: undo.slice(0, 3) })).toThrow(RangeError)
  })

  it('of outputs nobody may spend fail as Core says', () => {
    const { chain, coinbases } = matureChain(1)
    const trap = pay([outputOf(coinbases[0]!)], [SUBSIDY], { scriptPubKey: p2wshOf(never) })
    const block = mine(chain, [trap, pay([{ ...outputOf(trap), witness: [never] }], [SUBSIDY])])
    expect(connectBlock(block, context(chain, block))).toMatchObject({
      reason:
        'mandatory-script-verify-flag-failed (Script evaluated without error but finished with a false/empty top stack element)',
    })
  })
})
