/** Invoices (BOLT 11) and the payment machines: send, receive, relay. */
export * from './bolt11.ts'
export { formatAmount, type InvoiceProblem, type InvoiceProblemCode, MAX_INVOICE_CHARACTERS, parseAmount } from './bolt11-text.ts'
export * from './channel-port.ts'
export { type Orphan, type PaymentInput, reconcile, stepPayments } from './dispatch.ts'
export * from './env.ts'
export { createInvoice, type InvoiceRequest } from './receive.ts'
export * from './records.ts'
export type { PayRequest } from './send.ts'
