/** The wallet: keys of a seed, coins that follow the chain, transactions made and bumped. Pure functions over plain data. */
export { balance, listCoins, spendableCoins, type Balance, type CoinView } from './balance.ts'
export {
  completeBump,
  cpfp,
  findBump,
  findReliedOn,
  fundForeign,
  releaseBump,
  type Bumped,
  type CpfpRequest,
  type ForeignOutput,
  type ForeignRequest,
} from './bump.ts'
export {
  abandon,
  commitHeld,
  connectBlock,
  disconnectBlock,
  labelTransaction,
  missTransaction,
  RECENT_BLOCKS,
  releaseHeld,
  seeTransaction,
  type ConnectedBlock,
} from './coins.ts'
export type { Changed, WalletEvent } from './draft.ts'
export { dustLimit, feeOf, feerateOf, inputWeight, MAX_STANDARD_WEIGHT, RELAY_FEERATE_PER_KW } from './fee.ts'
export { bumpFee, fund, SEQUENCE_REPLACEABLE, type FeeBumpRequest, type Funded, type FundRequest } from './fund.ts'
export {
  findTransaction,
  heldTransactions,
  incomingInDoubt,
  listAddresses,
  listTransactions,
  netSat,
  pendingTransactions,
  statusOf,
  type AddressView,
  type TransactionStatus,
  type TransactionView,
} from './history.ts'
export {
  createWalletKeys,
  GAP_LIMIT,
  type AddressKind,
  type Branch,
  type Branches,
  type BranchName,
  type KeyPath,
  type WalletKeys,
} from './keys.ts'
export { walletKind, type KindRow, type KindWrite, type WalletKind } from './kind.ts'
export { isRefusal, refusal, type Refusal, type RefusalCode } from './refusal.ts'
export { isValidMnemonic, mnemonicFromEntropy, seedFromMnemonic } from './seed.ts'
export { selectCoins, settle, type Candidate, type Selection, type SelectionTask } from './select.ts'
export {
  confirmationsOf,
  emptyWallet,
  isMature,
  newAddress,
  type BlockCursor,
  type Coin,
  type Credit,
  type Debit,
  type Tip,
  type Wallet,
  type WalletTx,
} from './state.ts'
