/** Answers to questions for block filters, from the index. BIP 157. */
import { sha256d } from '@leyden/crypto'
import type { BlockHash } from '@leyden/bitcoin'
import type { FilterQuery, Outgoing } from '@leyden/p2p'
import type { LedgerEngine } from '../engine.ts'

const BASIC = 0
const NO_HEADER = new Uint8Array(32)

/** None when the index does not have all that is asked for. */
export const filterMessages = async (engine: LedgerEngine, { kind, stop, before, hashes }: FilterQuery): Promise<Outgoing[]> => {
  const read = (hash: BlockHash) => engine.filter(hash)
  const found = await Promise.all(hashes.map(read))
  const stored = found.filter((filter) => filter !== undefined)
  if (stored.length !== hashes.length) return []
  if (kind === 'filters')
    return stored.map(({ filter }, i) => ({ type: 'cfilter', filterType: BASIC, block: hashes[i] as BlockHash, filter }))
  if (kind === 'checkpoints') return [{ type: 'cfcheckpt', filterType: BASIC, stop, headers: stored.map(({ header }) => header) }]
  const previous = before === undefined ? NO_HEADER : (await read(before))?.header
  if (previous === undefined) return []
  return [{ type: 'cfheaders', filterType: BASIC, stop, previous, hashes: stored.map(({ filter }) => sha256d(filter)) }]
}
