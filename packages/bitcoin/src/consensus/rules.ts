/**
 * Constants of consensus and what follows from a height: subsidy, script flags. Bitcoin Core consensus/consensus.h, validation.cpp.
 * Reasons for refusal carry Bitcoin Core's reject reasons, so that logs and RPC read the same.
 */
import { MANDATORY_SCRIPT_FLAGS, VERIFY, withForkId } from '../script-rules.ts'
import type { BlockHash } from '../ids.ts'
import type { Network } from '../networks.ts'
import { SAT_PER_BTC, Sat } from '../units.ts'

export const MAX_BLOCK_WEIGHT = 4_000_000
export const MAX_BLOCK_SIGOPS_COST = 80_000
export const WITNESS_SCALE_FACTOR = 4
/** Blocks on top of a coinbase before it may be spent: a spend at height h needs a coinbase at h - 100 or below. */
export const COINBASE_MATURITY = 100
/** A header may be this far ahead of our clock. */
export const MAX_FUTURE_BLOCK_SECONDS = 2 * 60 * 60
/** BIP 94. */
export const MAX_TIMEWARP_SECONDS = 600
/** Blocks whose times make the median time past. */
export const MEDIAN_TIME_SPAN = 11

/** New coins of a block: 50 BTC on Bitcoin, halved every interval, rounded down; zero after 64 halvings. */
export const subsidy = (height: number, network: Network): Sat => {
  const halvings = Math.floor(height / network.subsidyHalvingInterval)
  return Sat(halvings >= 64 ? 0n : (network.initialSubsidy ?? 50n * SAT_PER_BTC) >> BigInt(halvings))
}

/** The id that signatures and headers of a block at that height commit to; 0 for none. */
export const forkIdAt = ({ fork }: Network, height: number): number => (fork === undefined || height < fork.height ? 0 : fork.id)

/** BIP 9: the top bits of a version that signals nothing. */
const PLAIN_VERSION = 0x2000_0000
/** With it a version is negative: whoever does not know of the fork refuses the header (BIP 34, 65, 66). */
const FORK_VERSION = 0x8000_0000

/** What a header of that height carries when its miner signals nothing. On a fork it must carry this. */
export const blockVersionAt = (network: Network, height: number): number => {
  const forkId = forkIdAt(network, height)
  return forkId === 0 ? PLAIN_VERSION : FORK_VERSION | forkId | 0
}

/** Script rules of a block at that height, with the id of the fork if there is one. P2SH, witness and taproot hold always but in the blocks that broke them. */
export const scriptFlagsAt = (network: Network, height: number, hash: BlockHash): number => {
  const exception = network.scriptExceptions.get(hash)
  let flags = 0
  if (exception === undefined) flags = VERIFY.P2SH | VERIFY.WITNESS | VERIFY.TAPROOT
  else for (const rule of exception) flags |= SCRIPT_RULES[rule]
  if (height >= network.bip66Height) flags |= VERIFY.DERSIG
  if (height >= network.bip65Height) flags |= VERIFY.CHECKLOCKTIMEVERIFY
  if (height >= network.csvHeight) flags |= VERIFY.CHECKSEQUENCEVERIFY
  if (height >= network.segwitHeight) flags |= VERIFY.NULLDUMMY
  return withForkId(flags & MANDATORY_SCRIPT_FLAGS, forkIdAt(network, height))
}

const SCRIPT_RULES = { p2sh: VERIFY.P2SH, witness: VERIFY.WITNESS, taproot: VERIFY.TAPROOT } as const

/** Median of the times of the last blocks, up to eleven, in any order. BIP 113. */
export const medianTimePast = (times: readonly number[]): number => {
  if (times.length === 0 || times.length > MEDIAN_TIME_SPAN) throw new RangeError(`median of ${times.length} times`)
  return times.toSorted((a, b) => a - b)[Math.floor(times.length / 2)]!
}
