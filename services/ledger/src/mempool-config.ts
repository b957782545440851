/**
 * What the owner may choose about mempool and blocks of ours: the keys, and what they come to. Bitcoin Core 28.1 node/mempool_args.cpp.
 * Rates are satoshi per 1000 virtual bytes, sizes of chains 1000 virtual bytes, the mempool megabytes.
 */
import { DEFAULT_POLICY, DEFAULT_TEMPLATE_LIMITS, type MempoolPolicy, type TemplateLimits } from '@leyden/ledger'
import { z } from 'zod'

const flag = z.preprocess(
  (value) => (value === 'true' || value === '1' ? true : value === 'false' || value === '0' ? false : value),
  z.boolean(),
)
const whole = (most: number) => z.coerce.number().int().min(0).max(most)
/** One bitcoin per virtual byte: more is a mistake. */
const feerate = whole(100_000_000_000)

export const mempoolShape = {
  /** Memory of the mempool. */
  maxMempool: whole(100_000).default(DEFAULT_POLICY.maxBytes / 1_000_000),
  /** Hours that a transaction waits at most. */
  mempoolExpiry: whole(1_000_000).default(DEFAULT_POLICY.expirySeconds / 3600),
  /** Relay floor; default: 1000, or incrementalRelayFee when that is more. */
  minRelayTxFee: feerate.optional(),
  incrementalRelayFee: feerate.default(DEFAULT_POLICY.incrementalFeeratePerKvb),
  dustRelayFee: feerate.default(DEFAULT_POLICY.dustFeeratePerKvb),
  /** Whether outputs that only carry data are relayed, and the longest script of such. */
  dataCarrier: flag.default(true),
  dataCarrierSize: whole(4_000_000).default(DEFAULT_POLICY.maxDataCarrierBytes ?? 83),
  permitBareMultisig: flag.default(DEFAULT_POLICY.permitBareMultisig),
  /** Take any form of transaction that consensus allows. Not on mainnet. */
  acceptNonstdTxn: flag.default(false),
  mempoolFullRbf: flag.default(DEFAULT_POLICY.fullRbf),
  bytesPerSigop: whole(1_000_000).default(DEFAULT_POLICY.bytesPerSigop),
  limitAncestorCount: whole(1_000_000).default(DEFAULT_POLICY.limits.ancestorCount),
  limitAncestorSize: whole(1_000_000).default(DEFAULT_POLICY.limits.ancestorVsize / 1000),
  limitDescendantCount: whole(1_000_000).default(DEFAULT_POLICY.limits.descendantCount),
  limitDescendantSize: whole(1_000_000).default(DEFAULT_POLICY.limits.descendantVsize / 1000),
  /** Whether the mempool outlives a restart. */
  persistMempool: flag.default(true),
  /** Name of a file in the data directory that holds the mempool in Bitcoin Core's format from stop to start; none by default. */
  mempoolFile: z
    .string()
    .regex(/^[a-z][a-z.]{0,40}$/)
    .optional(),
  /** Serve fee estimates of an earlier run however old they are. */
  acceptStaleFeeEstimates: flag.default(false),
  /** Weight of blocks of ours, and the rate below which they leave out a transaction. */
  blockMaxWeight: whole(4_000_000).default(DEFAULT_TEMPLATE_LIMITS.maxWeight),
  blockMinTxFee: feerate.default(DEFAULT_TEMPLATE_LIMITS.minFeeratePerKvb),
  /** Version that blocks of ours carry, on regtest. */
  blockVersion: z.coerce.number().int().min(-0x8000_0000).max(0x7fff_ffff).optional(),
}

const shape = z.object(mempoolShape)
type MempoolConfig = z.output<typeof shape>

/** Chains of the longest must fit many times. Bitcoin Core txmempool.cpp, Flatten. */
const DESCENDANT_CHAINS = 40

/** What is wrong with the choice, or nothing. */
export const mempoolConfigProblem = (config: MempoolConfig, network: string): string | undefined => {
  const leastBytes = config.limitDescendantSize * 1000 * DESCENDANT_CHAINS
  if (config.maxMempool * 1_000_000 < leastBytes) return `-maxmempool must be at least ${Math.ceil(leastBytes / 1_000_000)} MB`
  if (config.acceptNonstdTxn && network === 'mainnet') return 'acceptnonstdtxn is not currently supported for main chain'
  return undefined
}

/** The same of settings that may lack most keys; what is no number is told elsewhere. */
export const mempoolSettingsProblem = (settings: Readonly<Record<string, unknown>>, network: string): string | undefined => {
  const config = shape.safeParse(settings)
  return config.success ? mempoolConfigProblem(config.data, network) : undefined
}

export const policyOf = (config: MempoolConfig): MempoolPolicy => ({
  maxBytes: config.maxMempool * 1_000_000,
  expirySeconds: config.mempoolExpiry * 3600,
  minRelayFeeratePerKvb: config.minRelayTxFee ?? Math.max(DEFAULT_POLICY.minRelayFeeratePerKvb, config.incrementalRelayFee),
  incrementalFeeratePerKvb: config.incrementalRelayFee,
  dustFeeratePerKvb: config.dustRelayFee,
  maxDataCarrierBytes: config.dataCarrier ? config.dataCarrierSize : undefined,
  permitBareMultisig: config.permitBareMultisig,
  requireStandard: !config.acceptNonstdTxn,
  fullRbf: config.mempoolFullRbf,
  bytesPerSigop: config.bytesPerSigop,
  limits: {
    ancestorCount: config.limitAncestorCount,
    ancestorVsize: config.limitAncestorSize * 1000,
    descendantCount: config.limitDescendantCount,
    descendantVsize: config.limitDescendantSize * 1000,
  },
})

export const templateLimitsOf = ({ blockMaxWeight, blockMinTxFee }: MempoolConfig): TemplateLimits => ({
  maxWeight: blockMaxWeight,
  minFeeratePerKvb: blockMinTxFee,
})

/** Each key's line in the help: what stands behind it, and what it is. */
export const MEMPOOL_HELP = {
  maxMempool: ['MB', 'memory of the mempool (default 300)'],
  mempoolExpiry: ['hours', 'transactions leave the mempool after that (default 336)'],
  minRelayTxFee: ['sat/kvB', 'fee rate below which nothing is relayed (default 1000)'],
  incrementalRelayFee: ['sat/kvB', 'step of a replacement (default 1000)'],
  dustRelayFee: ['sat/kvB', 'fee rate that decides what is dust (default 3000)'],
  dataCarrier: ['true|false', 'relay outputs that carry data (default true)'],
  dataCarrierSize: ['bytes', 'their longest script (default 83)'],
  permitBareMultisig: ['true|false', 'relay bare multisig outputs (default true)'],
  acceptNonstdTxn: ['true|false', 'take any form of transaction (default false; not on mainnet)'],
  mempoolFullRbf: ['true|false', 'replace also what does not signal it (default true)'],
  bytesPerSigop: ['n', 'virtual bytes that a signature operation counts at least (default 20)'],
  limitAncestorCount: ['n', 'longest chain of unconfirmed ancestors (default 25)'],
  limitAncestorSize: ['kvB', 'their size (default 101)'],
  limitDescendantCount: ['n', 'most unconfirmed descendants (default 25)'],
  limitDescendantSize: ['kvB', 'their size (default 101)'],
  persistMempool: ['true|false', 'the mempool outlives a restart (default true)'],
  mempoolFile: ['name', 'keep it also in a file as bitcoind does (default none)'],
  acceptStaleFeeEstimates: ['true|false', 'serve old fee estimates (default false)'],
  blockMaxWeight: ['weight', 'of blocks of ours (default 3996000)'],
  blockMinTxFee: ['sat/kvB', 'fee rate below which they take nothing (default 1000)'],
  blockVersion: ['n', 'version of blocks of ours, for tests'],
} as const satisfies { readonly [key in keyof typeof mempoolShape]: readonly [hint: string, about: string] }
