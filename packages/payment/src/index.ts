/** Invoices (BOLT 11) and the payment machines: send, receive, relay. */
export * from './bolt11.ts'
export { formatAmount, type InvoiceProblem, type InvoiceProblemCode, MAX_INVOICE_CHARACTERS, parseAmount } from './bolt11-text.ts'
