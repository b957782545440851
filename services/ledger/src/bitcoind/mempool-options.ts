/** bitcoind's options about mempool, relay and mining, and what each of them sets here. Part of the table in options.ts. */
import type { Option } from './options.ts'
import { InitError, type Settings } from './settings.ts'

const bool = (settings: Settings, name: string): unknown => settings.bool(name)
const int = (settings: Settings, name: string): unknown => settings.int(name)

const MONEY = /^(\d{1,8})?(?:\.(\d{0,8}))?$/

/** Bitcoins per 1000 virtual bytes, as satoshi. */
const feerate = (settings: Settings, name: string): number | undefined => {
  const text = settings.text(name)?.trim()
  if (text === undefined) return undefined
  const match = MONEY.exec(text)
  if (match === null || (match[1] === undefined && match[2] === undefined))
    throw new InitError(`Invalid amount for -${name}=<amount>: '${text}'`)
  return Number(match[1] ?? 0) * 100_000_000 + Number((match[2] ?? '').padEnd(8, '0'))
}

export const MEMPOOL_OPTIONS: Readonly<Record<string, Option>> = {
  acceptnonstdtxn: { about: 'take any form of transaction (test networks)', to: 'acceptNonstdTxn', read: bool },
  acceptstalefeeestimates: { to: 'acceptStaleFeeEstimates', read: bool },
  blockmaxweight: { hint: '<n>', about: 'weight of blocks of ours', to: 'blockMaxWeight', read: int },
  blockmintxfee: { hint: '<BTC/kvB>', about: 'least fee rate in blocks of ours', to: 'blockMinTxFee', read: feerate },
  blockversion: { hint: '<n>', to: 'blockVersion', read: int },
  bytespersigop: { hint: '<n>', about: 'virtual bytes that a signature operation counts', to: 'bytesPerSigop', read: int },
  checkmempool: { hint: '<n>' },
  datacarrier: { about: 'relay outputs that carry data', to: 'dataCarrier', read: bool },
  datacarriersize: { hint: '<bytes>', about: 'their longest script', to: 'dataCarrierSize', read: int },
  dustrelayfee: { hint: '<BTC/kvB>', about: 'fee rate that decides what is dust', to: 'dustRelayFee', read: feerate },
  incrementalrelayfee: { hint: '<BTC/kvB>', about: 'step of a replacement', to: 'incrementalRelayFee', read: feerate },
  limitancestorcount: { hint: '<n>', about: 'most unconfirmed ancestors', to: 'limitAncestorCount', read: int },
  limitancestorsize: { hint: '<kB>', about: 'their size', to: 'limitAncestorSize', read: int },
  limitdescendantcount: { hint: '<n>', about: 'most unconfirmed descendants', to: 'limitDescendantCount', read: int },
  limitdescendantsize: { hint: '<kB>', about: 'their size', to: 'limitDescendantSize', read: int },
  maxmempool: { hint: '<MB>', about: 'memory of the mempool', to: 'maxMempool', read: int },
  mempoolexpiry: { hint: '<hours>', about: 'transactions leave after that', to: 'mempoolExpiry', read: int },
  mempoolfullrbf: { about: 'replace also what does not signal it', to: 'mempoolFullRbf', read: bool },
  minrelaytxfee: { hint: '<BTC/kvB>', about: 'least fee rate that is relayed', to: 'minRelayTxFee', read: feerate },
  permitbaremultisig: { about: 'relay bare multisig outputs', to: 'permitBareMultisig', read: bool },
  persistmempool: { about: 'the mempool outlives a restart', to: 'persistMempool', read: bool },
  persistmempoolv1: {},
  printpriority: {},
}
