/**
 * The text form of an invoice: bech32 without a length limit, amount, timestamp, tagged fields, signature. BOLT 11.
 * This layer keeps every field as it was written, known or not, so that `formatInvoiceText(parseInvoiceText(x))` is x (in lower case).
 * What the fields mean is bolt11.ts. Nothing here throws on bad input: whatever the text, the answer is the parts or a problem.
 */
import { bech32 } from '@scure/base'
import { concat, utf8Encode } from '@leyden/codec'
import { MAX_MONEY, Msat } from '@leyden/bitcoin'
import { sha256 } from '@leyden/crypto'

/** Five-bit groups, most significant first. */
export type Words = readonly number[]

/** One tagged field: five-bit type and data, at most 1,023 words. */
export interface TaggedField {
  readonly tag: number
  readonly words: Words
}

/** An invoice as written. `prefix` is what stands between `ln` and the amount (`bc`, `tb`, `tbs`, `bcrt`). */
export interface InvoiceText {
  readonly prefix: string
  /** The amount as written (`2500u`); empty for none. */
  readonly amount: string
  /** Seconds since 1970, 35 bits. */
  readonly timestamp: number
  readonly fields: readonly TaggedField[]
  /** 64 bytes, R then S. */
  readonly signature: Uint8Array
  /** 0 to 3 in a valid invoice. */
  readonly recoveryId: number
}

export type InvoiceProblemCode =
  | 'not_bech32'
  | 'unknown_prefix'
  | 'wrong_network'
  | 'invalid_amount'
  | 'too_short'
  | 'invalid_field'
  | 'missing_field'
  | 'unknown_feature'
  | 'missing_feature'
  | 'invalid_signature'

/** Why a text is not an invoice that we can pay. `detail` holds no text of the invoice's author. */
export interface InvoiceProblem {
  readonly problem: InvoiceProblemCode
  readonly detail: string
}

export const problem = (code: InvoiceProblemCode, detail: string): InvoiceProblem => ({ problem: code, detail })

/** The longest text that is looked at, in characters: as much as the largest QR code holds. */
export const MAX_INVOICE_CHARACTERS = 7089

const TIMESTAMP_WORDS = 7
const SIGNATURE_WORDS = 104

/** Integer of up to 53 bits; undefined when it is larger. */
export const wordsToNumber = (words: Words): number | undefined => {
  let n = 0
  for (const word of words) {
    n = n * 32 + word
    if (n > Number.MAX_SAFE_INTEGER) return undefined
  }
  return n
}

/** The fewest words (none for 0), or exactly `width`. */
export const numberToWords = (n: number, width = 0): Words => {
  const words: number[] = []
  for (let rest = n; rest > 0; rest = Math.floor(rest / 32)) words.unshift(rest % 32)
  return [...Array.from({ length: Math.max(width - words.length, 0) }, () => 0), ...words]
}

/** Whole bytes of words whose padding is less than a word and zero; undefined otherwise. */
export const wordsToBytes = (words: Words): Uint8Array | undefined => {
  try {
    return bech32.fromWords([...words])
  } catch {
    return undefined
  }
}

export const bytesToWords = (bytes: Uint8Array): Words => bech32.toWords(bytes)

/** The data part without the signature, zero bits appended to fill a byte. */
const signedWordsToBytes = (words: Words): Uint8Array => {
  const out = new Uint8Array(Math.ceil((words.length * 5) / 8))
  words.forEach((word, i) => {
    const bit = i * 5
    const shifted = word << (11 - (bit % 8))
    const at = bit >> 3
    out[at] = (out[at] ?? 0) | (shifted >> 8)
    if (at + 1 < out.length) out[at + 1] = (out[at + 1] ?? 0) | (shifted & 0xff)
  })
  return out
}

const dataWords = (text: Pick<InvoiceText, 'timestamp' | 'fields'>): Words => {
  const data = [...numberToWords(text.timestamp, TIMESTAMP_WORDS)]
  for (const { tag, words } of text.fields) {
    data.push(tag, words.length >> 5, words.length & 31)
    for (const word of words) data.push(word)
  }
  return data
}

/** The 32 bytes that the payee signs. BOLT 11 § Data Part. */
export const invoiceHash = (text: Omit<InvoiceText, 'signature' | 'recoveryId'>): Uint8Array =>
  sha256(concat(utf8Encode(`ln${text.prefix}${text.amount}`), signedWordsToBytes(dataWords(text))))

/** Pico-bitcoin in one unit of each multiplier; a millisatoshi is ten pico-bitcoin. */
const PICO: { readonly [multiplier: string]: bigint } = {
  '': 1_000_000_000_000n,
  m: 1_000_000_000n,
  u: 1_000_000n,
  n: 1_000n,
  p: 1n,
}

/** BOLT 11 § Human-Readable Part. `2500u` to millisatoshi; undefined for what is no amount, zero, or more than all money. */
export const parseAmount = (text: string): Msat | undefined => {
  const match = /^([1-9]\d{0,19})([munp]?)$/.exec(text)
  if (!match) return undefined
  const pico = BigInt(match[1] ?? '') * (PICO[match[2] ?? ''] ?? 0n)
  if (pico % 10n !== 0n) return undefined
  const msat = pico / 10n
  return msat > MAX_MONEY * 1000n ? undefined : Msat(msat)
}

/** The shortest text of an amount. */
export const formatAmount = (amountMsat: Msat): string => {
  const pico = amountMsat * 10n
  for (const [multiplier, unit] of Object.entries(PICO)) if (pico % unit === 0n) return `${pico / unit}${multiplier}`
  return `${pico}p`
}

/** Without the `lightning:` of a QR code. */
const bareText = (text: string): string => text.trim().replace(/^lightning:/i, '')

/** The one way to write an invoice that has been taken apart: what `formatInvoiceText` would make of its parts. */
export const canonicalText = (text: string): string => bareText(text).toLowerCase()

/**
 * Takes a text apart. `prefixes` are the networks that exist; the longest that leaves an amount (or nothing) counts.
 * A leading `lightning:` is dropped, as scanned from a QR code.
 */
export const parseInvoiceText = (text: string, prefixes: readonly string[]): InvoiceText | InvoiceProblem => {
  const bare = bareText(text)
  if (bare.length > MAX_INVOICE_CHARACTERS) return problem('not_bech32', `longer than ${MAX_INVOICE_CHARACTERS} characters`)
  // before anything is lower-cased: some characters beyond ASCII have a lower case inside it
  if (!/^[\x21-\x7e]+$/.test(bare)) return problem('not_bech32', 'a character is not printable ASCII')
  let decoded: { readonly prefix: string; readonly words: Words }
  try {
    decoded = bech32.decode(bare as `${string}1${string}`, false)
  } catch {
    return problem('not_bech32', 'bad character, mixed case or wrong checksum')
  }
  const head = decoded.prefix.toLowerCase()
  const known = prefixes
    .filter((prefix) => head.startsWith(`ln${prefix}`))
    .toSorted((a, b) => b.length - a.length)
    .map((prefix) => ({ prefix, amount: head.slice(2 + prefix.length) }))
  const named = known.find(({ amount }) => amount === '' || /^\d/.test(amount))
  if (named === undefined) return problem('unknown_prefix', 'not an invoice, or of a network that is not known here')
  const { words } = decoded
  if (words.length < TIMESTAMP_WORDS + SIGNATURE_WORDS) return problem('too_short', 'no room for timestamp and signature')
  const end = words.length - SIGNATURE_WORDS
  const fields: TaggedField[] = []
  for (let at = TIMESTAMP_WORDS; at < end;) {
    const [tag, high, low] = words.slice(at, Math.min(at + 3, end))
    if (tag === undefined || high === undefined || low === undefined) return problem('too_short', 'a field has no length')
    const length = high * 32 + low
    if (at + 3 + length > end) return problem('too_short', 'a field reaches into the signature')
    fields.push({ tag, words: words.slice(at + 3, at + 3 + length) })
    at += 3 + length
  }
  const signature = wordsToBytes(words.slice(end))
  if (signature?.length !== 65) return problem('invalid_signature', 'wrong length')
  return {
    ...named,
    timestamp: wordsToNumber(words.slice(0, TIMESTAMP_WORDS)) ?? 0,
    fields,
    signature: signature.slice(0, 64),
    recoveryId: signature[64] ?? 0,
  }
}

/** The text, in lower case. */
export const formatInvoiceText = (text: InvoiceText): string =>
  bech32.encode(
    `ln${text.prefix}${text.amount}`,
    [...dataWords(text), ...bytesToWords(concat(text.signature, Uint8Array.of(text.recoveryId)))],
    false,
  )
