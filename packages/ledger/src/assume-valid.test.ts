import { networks, type BlockHeader } from '@leyden/bitcoin'
import { describe, expect, it } from 'vitest'
import { assumesScripts } from './assume-valid.ts'
import { addHeader, createHeaderTree, placeHeader, type HeaderEntry, type HeaderTree } from './header-tree.ts'
import { buildBlock, findNonce } from './miner.ts'
import { isViolation } from './violation.ts'

const network = networks.regtest

/** A header on `parent`, in the tree. `salt` makes branches differ. */
const add = (tree: HeaderTree, parent: HeaderEntry, salt = 0): HeaderEntry => {
  const plan = { network, parent, now: parent.header.time + 1, transactions: [], fees: 0n, extraNonce: salt }
  const header = findNonce(buildBlock({ ...plan, scriptPubKey: new Uint8Array(0) }))?.header as BlockHeader
  const entry = placeHeader(tree, header, header.time)
  if (isViolation(entry)) throw new Error(entry.reason)
  addHeader(tree, entry)
  return entry
}

/** A chain of headers by height. */
const chainOf = (length: number): { tree: HeaderTree; chain: HeaderEntry[] } => {
  const tree = createHeaderTree(network, network.genesis.header)
  const chain = [tree.genesis]
  while (chain.length <= length) chain.push(add(tree, chain.at(-1)!))
  return { tree, chain }
}

/** Two weeks of blocks on a network of one every ten minutes. */
const TWO_WEEKS = 2016

describe('scripts of blocks assumed valid', () => {
  const { tree, chain } = chainOf(2030)
  const best = chain.at(-1)!
  const believe = (height: number, minimumWork = 0n) => ({ block: chain[height]!.hash, minimumWork })
  const below = best.height - TWO_WEEKS - 1

  it('need not run at and below the block, two weeks of work deep', () => {
    expect(assumesScripts(tree, chain[below]!, best, believe(below))).toBe(true)
    expect(assumesScripts(tree, chain[1]!, best, believe(below))).toBe(true)
    expect(assumesScripts(tree, chain[below + 1]!, best, believe(below))).toBe(false)
  })

  it('run where less than two weeks of work lie on them', () => {
    expect(assumesScripts(tree, chain[below + 1]!, best, believe(best.height))).toBe(false)
    expect(assumesScripts(tree, chain[below]!, best, believe(best.height))).toBe(true)
    expect(assumesScripts(tree, chain[below]!, chain[best.height - 1]!, believe(best.height))).toBe(false)
  })

  it('run while the block is not known, and while headers have less than the minimum of work', () => {
    const unknown = { block: 'ab'.repeat(32) as never, minimumWork: 0n }
    expect(assumesScripts(tree, chain[1]!, best, unknown)).toBe(false)
    expect(assumesScripts(tree, chain[1]!, best, believe(below, best.chainWork))).toBe(true)
    expect(assumesScripts(tree, chain[1]!, best, believe(below, best.chainWork + 1n))).toBe(false)
  })

  it('run on a branch that the block is not on, and when the best headers are on another', () => {
    const rival = add(tree, chain[below - 1]!, 1)
    expect(assumesScripts(tree, rival, best, believe(below))).toBe(false)
    expect(assumesScripts(tree, chain[below]!, rival, believe(below))).toBe(false)
    expect(assumesScripts(tree, chain[1]!, best, { block: rival.hash, minimumWork: 0n })).toBe(true)
  })
})
