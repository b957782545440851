export { type Api, type ApiOptions, createApi } from './app.ts'
export { badField, type FieldError, Problem, PROBLEM_CODES, type ProblemBody, type ProblemCode } from './problem.ts'
export * as schema from './schema.ts'
export type { IdempotentAnswer, Page, WalletService } from './service.ts'
export type {
  Address,
  ApiEvent,
  Balance,
  Channel,
  CloseChannel,
  CreateInvoice,
  CreatePayment,
  Decoded,
  EventType,
  Fees,
  GraphSummary,
  Invoice,
  Node,
  OpenChannel,
  PageQuery,
  Payment,
  Peer,
  SendTransaction,
  Transaction,
  Utxo,
} from './schema.ts'
