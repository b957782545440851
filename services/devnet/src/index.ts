export { createDaemon, type Daemon, type DaemonOptions, describeExit, type Exit } from './daemon.ts'
export { createLedgerRpc, type LedgerRpc, NOBODY, RpcError } from './ledger-rpc.ts'
export {
  type Client,
  createLedgerNode,
  createLightningNode,
  type LedgerNode,
  type LedgerOptions,
  type LightningNode,
  type LightningOptions,
} from './nodes.ts'
export { freePort, isPortTaken } from './port.ts'
export {
  ANNOUNCE_DEPTH,
  awaitGraph,
  awaitTip,
  awaitUsable,
  confirmChannel,
  DEVNET_PLAN,
  fund,
  openChannel,
  type Plan,
  prepare,
} from './prepare.ts'
export { createProgress, type Progress } from './progress.ts'
export { pause, waitFor, type WaitOptions } from './wait.ts'
