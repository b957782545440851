/**
 * Rules of headers: proof of work, difficulty, times, versions. Bitcoin Core pow.cpp, validation.cpp; BIP 34, 65, 66, 94, 113.
 * The caller knows the chain: it gives the previous header, the median time past, and a way to earlier headers.
 */
import { blockHash, type BlockHeader } from '../block.ts'
import type { BlockHash } from '../ids.ts'
import type { Network } from '../networks.ts'
import { blockVersionAt, forkIdAt, MAX_FUTURE_BLOCK_SECONDS, MAX_TIMEWARP_SECONDS } from './rules.ts'

/** Target of compact `bits`; undefined when negative, zero, or wider than 256 bits: no hash meets it. */
export const targetFromBits = (bits: number): bigint | undefined => {
  const size = bits >>> 24
  const mantissa = bits & 0x7fffff
  if (mantissa === 0 || (bits & 0x800000) !== 0) return undefined
  const target = size <= 3 ? BigInt(mantissa >> (8 * (3 - size))) : BigInt(mantissa) << BigInt(8 * (size - 3))
  return target === 0n || target >> 256n !== 0n ? undefined : target
}

/** Compact form of a target: three bytes of precision, rounded down. */
export const bitsFromTarget = (target: bigint): number => {
  if (target < 0n || target >> 256n !== 0n) throw new RangeError('target out of range')
  let size = target === 0n ? 0 : Math.ceil(target.toString(16).length / 2)
  let mantissa = Number(size <= 3 ? target << BigInt(8 * (3 - size)) : target >> BigInt(8 * (size - 3)))
  if (mantissa & 0x800000) {
    mantissa >>= 8
    size += 1
  }
  return ((size << 24) | mantissa) >>> 0
}

/** Hashes that a block of these bits stands for on average; 0n when no hash meets them. Sums of it compare chains. */
export const workFromBits = (bits: number): bigint => {
  const target = targetFromBits(bits)
  return target === undefined ? 0n : (1n << 256n) / (target + 1n)
}

/** Whether the hash meets the bits, and the bits the network's limit. */
export const meetsProofOfWork = (hash: BlockHash, bits: number, network: Network): boolean => {
  const target = targetFromBits(bits)
  return target !== undefined && target <= network.powLimit && BigInt(`0x${hash}`) <= target
}

/** Blocks between changes of difficulty: 2016, or 144 on regtest. */
export const difficultyInterval = (network: Network): number =>
  Math.floor(network.targetTimespanSeconds / network.targetSpacingSeconds)

/** New target after a period: the old one times the time it took, within a factor of four. */
const retarget = (bits: number, timespan: number, network: Network): number => {
  const span = network.targetTimespanSeconds
  const bounded = Math.min(Math.max(timespan, Math.floor(span / 4)), span * 4)
  const target = ((targetFromBits(bits) ?? 0n) * BigInt(bounded)) / BigInt(span)
  return bitsFromTarget(target > network.powLimit ? network.powLimit : target)
}

/**
 * Bits that the block after `previous` must carry. `headerAt(h)` gives the header at height h of the same chain;
 * `time` is the new block's.
 */
export const nextWorkRequired = (
  network: Network,
  previous: { readonly height: number; readonly header: BlockHeader },
  time: number,
  headerAt: (height: number) => BlockHeader,
): number => {
  const interval = difficultyInterval(network)
  const { height, header } = previous
  if ((height + 1) % interval !== 0) {
    if (!network.allowMinDifficultyBlocks) return header.bits
    const limit = bitsFromTarget(network.powLimit)
    if (time > header.time + network.targetSpacingSeconds * 2) return limit
    let at = height
    let last = header
    while (at > 0 && at % interval !== 0 && last.bits === limit) last = headerAt(--at)
    return last.bits
  }
  if (network.noRetargeting) return header.bits
  const first = headerAt(height - (interval - 1))
  return retarget(network.enforceBip94 ? first.bits : header.bits, header.time - first.time, network)
}

export type HeaderError =
  | 'high-hash'
  | 'prev-blk-mismatch'
  | 'bad-diffbits'
  | 'time-too-old'
  | 'time-timewarp-attack'
  | 'time-too-new'
  | `bad-version(0x${string})`
  | 'bad-fork-version'

/** Where a header would stand. Times in seconds; `now` is our clock. */
export type HeaderContext = {
  readonly network: Network
  readonly previous: { readonly height: number; readonly header: BlockHeader }
  readonly medianTimePast: number
  readonly now: number
  readonly headerAt: (height: number) => BlockHeader
}

/** Whether the header's hash meets its own bits. The first check, and the only one without context. */
export const checkProofOfWork = (header: BlockHeader, network: Network): HeaderError | undefined =>
  meetsProofOfWork(blockHash(header), header.bits, network) ? undefined : 'high-hash'

/** Every rule of a header after `previous`. 'time-too-new' may pass later: do not remember such a header as invalid. */
export const checkHeader = (header: BlockHeader, context: HeaderContext): HeaderError | undefined =>
  checkProofOfWork(header, context.network) ?? checkHeaderAt(header, context)

/** The rules of a header after `previous`, whoever has worked for it. */
export const checkHeaderAt = (header: BlockHeader, context: HeaderContext): HeaderError | undefined => {
  const { network, previous } = context
  const height = previous.height + 1
  if (header.previousHash !== blockHash(previous.header)) return 'prev-blk-mismatch'
  if (header.bits !== nextWorkRequired(network, previous, header.time, context.headerAt)) return 'bad-diffbits'
  if (header.time <= context.medianTimePast) return 'time-too-old'
  const startsPeriod = height % difficultyInterval(network) === 0
  if (network.enforceBip94 && startsPeriod && header.time < previous.header.time - MAX_TIMEWARP_SECONDS)
    return 'time-timewarp-attack'
  if (header.time > context.now + MAX_FUTURE_BLOCK_SECONDS) return 'time-too-new'
  if (forkIdAt(network, height) !== 0) return header.version === blockVersionAt(network, height) ? undefined : 'bad-fork-version'
  if (
    (header.version < 2 && height >= network.bip34Height) ||
    (header.version < 3 && height >= network.bip66Height) ||
    (header.version < 4 && height >= network.bip65Height)
  )
    return `bad-version(0x${(header.version >>> 0).toString(16).padStart(8, '0')})`
  return undefined
}
