/**
 * Invoices. BOLT 11.
 * `decodeInvoice` gives an invoice that we could pay, or a problem; it throws nothing, whatever the text (S65).
 * Of a field that must have one length, others are skipped, as the spec's own example of a valid invoice wants; what is required and
 * then missing refuses the invoice. Without `n` the payee is whoever made the signature, high S or low; with `n` only low S counts.
 * An expired invoice decodes: expiry is a question of the clock, `invoiceExpiry` answers with the moment.
 */
import { bytesToHex, DecodeError, hexToBytes, Reader, utf8Decode, utf8Encode, Writer } from '@leyden/codec'
import { type Msat, type Network, networks, p2pkh, p2sh, buildScript, witnessProgram, classifyScript } from '@leyden/bitcoin'
import { ecdsaRecover, ecdsaVerify, isValidPoint } from '@leyden/crypto'
import {
  decodeFeatures,
  encodeFeatures,
  type FeatureName,
  type Features,
  featureBit,
  findMissingDependency,
  type NodeId,
  nodeIdFromPoint,
  nodeIdToPoint,
  PaymentHash,
  ShortChannelId,
} from '@leyden/lnwire'
import type { HintHop, RouteHint } from '@leyden/routing'
import {
  bytesToWords,
  canonicalText,
  formatAmount,
  formatInvoiceText,
  invoiceHash,
  type InvoiceProblem,
  type InvoiceText,
  numberToWords,
  parseAmount,
  parseInvoiceText,
  problem,
  type TaggedField,
  type Words,
  wordsToBytes,
  wordsToNumber,
} from './bolt11-text.ts'

/** What a payee asks for. */
export interface InvoiceFields {
  /** `bc`, `tb`, `tbs`, `bcrt` or a network of one's own. */
  readonly prefix: string
  /** Absent: the payer chooses. */
  readonly amountMsat?: Msat
  /** Seconds since 1970. */
  readonly timestamp: number
  readonly paymentHash: PaymentHash
  /** 32 bytes. */
  readonly paymentSecret: Uint8Array
  /** Exactly one of the two. The hash has 32 bytes. The text is the author's: sanitize where it is shown. */
  readonly description?: string
  readonly descriptionHash?: Uint8Array
  readonly expirySeconds: number
  readonly minFinalCltvExpiryDelta: number
  readonly routeHints: readonly RouteHint[]
  readonly features: Features
  /** scriptPubKeys to pay to on chain, most preferred first. */
  readonly fallbackScripts: readonly Uint8Array[]
  readonly metadata?: Uint8Array
}

/** An invoice that was decoded and verified. */
export interface Invoice extends InvoiceFields {
  readonly payee: NodeId
  /** As it was given, in lower case. */
  readonly text: string
}

export const DEFAULT_EXPIRY_SECONDS = 3600
export const DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA = 18

const TAG = { p: 1, s: 16, d: 13, m: 27, n: 19, h: 23, x: 6, c: 24, f: 9, r: 3, features: 5 } as const

/** What a payer here understands. Everything else that an invoice requires is refused. */
const SUPPORTED: readonly FeatureName[] = ['var_onion_optin', 'payment_secret', 'basic_mpp', 'option_payment_metadata']

/** The most that `c` may ask for; beyond it nobody would lock money up. Also keeps sums of heights in range. */
const MAX_CLTV_DELTA = 0xffff
const HINT_BYTES = 51
/** Hints and hops in one that are kept: more is a burden on path finding only. */
const MAX_HINTS = 64

const fixedBytes = (fields: readonly TaggedField[], tag: number, wordCount: number): Uint8Array | undefined | InvoiceProblem => {
  const field = fields.find((each) => each.tag === tag && each.words.length === wordCount)
  return field === undefined ? undefined : (wordsToBytes(field.words) ?? problem('invalid_field', 'padding is not zero'))
}

/** `x` or `c`: the first, minimal. */
const numberField = (fields: readonly TaggedField[], tag: number, absent: number, max: number): number | InvoiceProblem => {
  const field = fields.find((each) => each.tag === tag)
  if (field === undefined) return absent
  if (field.words[0] === 0) return problem('invalid_field', 'a number begins with zeros')
  const n = wordsToNumber(field.words)
  return n === undefined || n > max ? problem('invalid_field', 'a number is out of range') : n
}

const decodeHint = (words: Words): RouteHint | InvoiceProblem => {
  const data = wordsToBytes(words)
  if (data === undefined || data.length === 0 || data.length % HINT_BYTES !== 0)
    return problem('invalid_field', 'a route hint is no whole number of hops')
  const reader = new Reader(data)
  const hops: HintHop[] = []
  while (reader.remaining > 0) {
    const point = reader.bytes(33)
    if (!isValidPoint(point)) return problem('invalid_field', 'a node id in a route hint is no point')
    hops.push({
      nodeId: nodeIdFromPoint(point),
      shortChannelId: ShortChannelId(reader.u64()),
      feeBaseMsat: reader.u32(),
      feeProportionalMillionths: reader.u32(),
      cltvExpiryDelta: reader.u16(),
    })
  }
  return hops
}

const encodeHint = (hint: RouteHint): Words => {
  const writer = new Writer()
  for (const hop of hint) {
    writer.bytes(nodeIdToPoint(hop.nodeId))
    writer.u64(hop.shortChannelId)
    writer.u32(hop.feeBaseMsat)
    writer.u32(hop.feeProportionalMillionths)
    writer.u16(hop.cltvExpiryDelta)
  }
  return bytesToWords(writer.finish())
}

/** Versions 0 to 16 are witness programs, 17 and 18 hashes; others are for the future and skipped. */
const decodeFallback = (words: Words): Uint8Array | undefined => {
  const [version, ...rest] = words
  const program = wordsToBytes(rest)
  if (version === undefined || program === undefined) return undefined
  if (version === 17 || version === 18) {
    if (program.length !== 20) return undefined
    return version === 17 ? p2pkh(program) : p2sh(program)
  }
  if (version > 16 || program.length < 2 || program.length > 40) return undefined
  if (version === 0 && program.length !== 20 && program.length !== 32) return undefined
  return buildScript(version === 0 ? 0 : 0x50 + version, program)
}

const encodeFallback = (script: Uint8Array): Words => {
  const witness = witnessProgram(script)
  if (witness !== undefined) return [witness.version, ...bytesToWords(witness.program)]
  const known = classifyScript(script)
  if (known.type === 'p2pkh') return [17, ...bytesToWords(known.hash)]
  if (known.type === 'p2sh') return [18, ...bytesToWords(known.hash)]
  throw new RangeError('a fallback script has no address')
}

const featureWordsToBytes = (words: Words): Uint8Array => {
  const out = new Uint8Array(Math.ceil((words.length * 5) / 8))
  words.toReversed().forEach((word, i) => {
    for (let bit = 0; bit < 5; bit++) {
      if (((word >> bit) & 1) === 0) continue
      const at = i * 5 + bit
      const index = out.length - 1 - (at >> 3)
      out[index] = (out[index] ?? 0) | (1 << (at & 7))
    }
  })
  return out
}

const featureBytesToWords = (vector: Uint8Array): Words => {
  const words: number[] = []
  for (let at = 0; at < vector.length * 8; at += 5) {
    let word = 0
    for (let bit = 0; bit < 5 && at + bit < vector.length * 8; bit++)
      word |= (((vector[vector.length - 1 - ((at + bit) >> 3)] ?? 0) >> ((at + bit) & 7)) & 1) << bit
    words.unshift(word)
  }
  while (words[0] === 0) words.shift()
  return words
}

const decodeInvoiceFeatures = (fields: readonly TaggedField[]): Features | InvoiceProblem => {
  const field = fields.find((each) => each.tag === TAG.features)
  if (field === undefined) return { known: {} }
  if (field.words[0] === 0) return problem('invalid_field', 'features begin with zeros')
  const features = decodeFeatures(featureWordsToBytes(field.words))
  if (features.unknownEven !== undefined) return problem('unknown_feature', `bit ${features.unknownEven}`)
  for (const [name, level] of Object.entries(features.known) as [FeatureName, string][])
    if (level === 'required' && !SUPPORTED.includes(name)) return problem('unknown_feature', `bit ${featureBit(name)}`)
  const missing = findMissingDependency(features)
  return missing === undefined ? features : problem('missing_feature', `${missing.feature} needs ${missing.dependency}`)
}

const findPayee = (text: InvoiceText): NodeId | InvoiceProblem => {
  if (text.recoveryId > 3) return problem('invalid_signature', 'recovery id')
  const hash = invoiceHash(text)
  const named = fixedBytes(text.fields, TAG.n, 53)
  if (named !== undefined && 'problem' in named) return named
  if (named !== undefined) {
    if (!isValidPoint(named)) return problem('invalid_field', 'n is no point')
    return ecdsaVerify(text.signature, hash, named) ? nodeIdFromPoint(named) : problem('invalid_signature', 'not by the payee')
  }
  const point = ecdsaRecover(text.signature, text.recoveryId, hash)
  return point === undefined ? problem('invalid_signature', 'no key made it') : nodeIdFromPoint(point)
}

/** The networks whose invoices are accepted; by default every network that Leyden knows. */
export interface DecodeOptions {
  readonly networks?: readonly Pick<Network, 'bolt11Prefix'>[]
}

/** Reads and verifies an invoice. BOLT 11, reader. */
export const decodeInvoice = (text: string, options: DecodeOptions = {}): Invoice | InvoiceProblem => {
  const known = Object.values(networks).map((network) => network.bolt11Prefix)
  const accepted = options.networks?.map((network) => network.bolt11Prefix) ?? known
  const parsed = parseInvoiceText(text, [...new Set([...known, ...accepted])])
  if ('problem' in parsed) return parsed
  if (!accepted.includes(parsed.prefix)) return problem('wrong_network', `invoice of ln${parsed.prefix}`)
  const { prefix, timestamp, fields } = parsed

  const amountMsat = parsed.amount === '' ? undefined : parseAmount(parsed.amount)
  if (parsed.amount !== '' && amountMsat === undefined) return problem('invalid_amount', 'not a positive number of millisatoshi')

  const hash = fixedBytes(fields, TAG.p, 52)
  if (hash === undefined) return problem('missing_field', 'payment hash (p)')
  if ('problem' in hash) return hash
  const paymentSecret = fixedBytes(fields, TAG.s, 52)
  if (paymentSecret === undefined) return problem('missing_field', 'payment secret (s)')
  if ('problem' in paymentSecret) return paymentSecret

  const descriptionHash = fixedBytes(fields, TAG.h, 52)
  if (descriptionHash !== undefined && 'problem' in descriptionHash) return descriptionHash
  const described = fields.find((field) => field.tag === TAG.d)
  if ((descriptionHash === undefined) === (described === undefined))
    return problem('missing_field', 'either a description (d) or the hash of one (h)')
  let description: string | undefined
  if (described !== undefined) {
    const data = wordsToBytes(described.words)
    if (data === undefined) return problem('invalid_field', 'padding is not zero')
    try {
      description = utf8Decode(data)
    } catch (error) {
      if (error instanceof DecodeError) return problem('invalid_field', 'the description is not UTF-8')
      throw error
    }
  }

  const expirySeconds = numberField(fields, TAG.x, DEFAULT_EXPIRY_SECONDS, Number.MAX_SAFE_INTEGER / 4096)
  if (typeof expirySeconds !== 'number') return expirySeconds
  const delta = numberField(fields, TAG.c, DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA, MAX_CLTV_DELTA)
  if (typeof delta !== 'number') return delta

  const features = decodeInvoiceFeatures(fields)
  if ('problem' in features) return features

  const routeHints: RouteHint[] = []
  for (const { words } of fields.filter((field) => field.tag === TAG.r).slice(0, MAX_HINTS)) {
    const hint = decodeHint(words)
    if ('problem' in hint) return hint
    routeHints.push(hint)
  }
  const metadataField = fields.find((field) => field.tag === TAG.m)
  const metadata = metadataField && wordsToBytes(metadataField.words)
  if (metadataField !== undefined && metadata === undefined) return problem('invalid_field', 'padding is not zero')

  const payee = findPayee(parsed)
  if (typeof payee !== 'string') return payee

  return {
    prefix,
    ...(amountMsat === undefined ? {} : { amountMsat }),
    timestamp,
    paymentHash: PaymentHash(bytesToHex(hash)),
    paymentSecret,
    ...(description === undefined ? {} : { description }),
    ...(descriptionHash === undefined ? {} : { descriptionHash }),
    expirySeconds,
    minFinalCltvExpiryDelta: delta,
    routeHints,
    features,
    fallbackScripts: fields
      .filter((field) => field.tag === TAG.f)
      .map((field) => decodeFallback(field.words))
      .filter((script) => script !== undefined),
    ...(metadata === undefined ? {} : { metadata }),
    payee,
    text: canonicalText(text),
  }
}

export const isInvoiceProblem = (value: Invoice | InvoiceProblem): value is InvoiceProblem => 'problem' in value

/** Signs a 32-byte hash with the payee's node secret: `ecdsaSignRecoverable` of crypto. */
export type SignInvoice = (hash: Uint8Array) => { readonly signature: Uint8Array; readonly recoveryId: number }

const sized = (name: string, bytes: Uint8Array): Uint8Array => {
  if (bytes.length !== 32) throw new RangeError(`${name} has ${bytes.length} bytes, not 32`)
  return bytes
}

/**
 * Writes and signs an invoice. Fields come in one order: s p d|h x c f r 9 m. Defaults are left out.
 * @throws RangeError when a field does not fit: the caller's values are the caller's business.
 */
export const encodeInvoice = (invoice: InvoiceFields, sign: SignInvoice): string => {
  if ((invoice.description === undefined) === (invoice.descriptionHash === undefined))
    throw new RangeError('an invoice has either a description or the hash of one')
  if (!Number.isInteger(invoice.timestamp) || invoice.timestamp < 0 || invoice.timestamp >= 2 ** 35)
    throw new RangeError('timestamp')
  if (invoice.amountMsat === 0n) throw new RangeError('an amount of zero is left out')
  const fields: TaggedField[] = [
    { tag: TAG.s, words: bytesToWords(sized('payment secret', invoice.paymentSecret)) },
    { tag: TAG.p, words: bytesToWords(hexToBytes(invoice.paymentHash)) },
  ]
  if (invoice.description !== undefined) fields.push({ tag: TAG.d, words: bytesToWords(utf8Encode(invoice.description)) })
  if (invoice.descriptionHash !== undefined)
    fields.push({ tag: TAG.h, words: bytesToWords(sized('description hash', invoice.descriptionHash)) })
  if (invoice.expirySeconds !== DEFAULT_EXPIRY_SECONDS) fields.push({ tag: TAG.x, words: numberToWords(invoice.expirySeconds) })
  if (invoice.minFinalCltvExpiryDelta !== DEFAULT_MIN_FINAL_CLTV_EXPIRY_DELTA)
    fields.push({ tag: TAG.c, words: numberToWords(invoice.minFinalCltvExpiryDelta) })
  for (const script of invoice.fallbackScripts) fields.push({ tag: TAG.f, words: encodeFallback(script) })
  for (const hint of invoice.routeHints) if (hint.length > 0) fields.push({ tag: TAG.r, words: encodeHint(hint) })
  const features = featureBytesToWords(encodeFeatures(invoice.features))
  if (features.length > 0) fields.push({ tag: TAG.features, words: features })
  if (invoice.metadata !== undefined) fields.push({ tag: TAG.m, words: bytesToWords(invoice.metadata) })
  for (const field of fields) if (field.words.length > 1023) throw new RangeError('a field is longer than 639 bytes')
  const unsigned = {
    prefix: invoice.prefix,
    amount: invoice.amountMsat === undefined ? '' : formatAmount(invoice.amountMsat),
    timestamp: invoice.timestamp,
    fields,
  }
  return formatInvoiceText({ ...unsigned, ...sign(invoiceHash(unsigned)) })
}

/** The second since 1970 from which the invoice is expired. */
export const invoiceExpiry = (invoice: Pick<InvoiceFields, 'timestamp' | 'expirySeconds'>): number =>
  invoice.timestamp + invoice.expirySeconds
