/** Headers, blocks and transactions as Bitcoin Core 28's JSON shows them (core_write.cpp, rpc/blockchain.cpp). */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  blockBaseSize,
  blockTotalSize,
  blockWeight,
  checkSignatureEncoding,
  classifyScript,
  encodeAddress,
  encodeTx,
  isCoinbase,
  isUnspendable,
  scriptToText,
  txid,
  txTotalSize,
  txVsize,
  txWeight,
  VERIFY,
  wtxid,
  type Block,
  type Coin,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { medianTimePast, signalsReplacement, withAncestors, type HeaderEntry, type MempoolEntry } from '@leyden/ledger'
import type { LedgerEngine } from '../engine.ts'
import { btc, type Json } from './json-text.ts'
import { outputDescriptor } from './descriptor.ts'

export type { Json } from './json-text.ts'

/** Drops what is undefined: JSON has no such value. */
type Loose = { readonly [name: string]: Json | undefined }
const object = (fields: Loose): { readonly [name: string]: Json } =>
  Object.fromEntries(Object.entries(fields).filter((field): field is [string, Json] => field[1] !== undefined))

const hex32 = (n: number): string => (n >>> 0).toString(16).padStart(8, '0')

export const chainWorkHex = (work: bigint): string => work.toString(16).padStart(64, '0')

/** How much harder than the easiest of Bitcoin's first blocks, to the 16 digits that Bitcoin Core prints. */
export const difficulty = (bits: number): number => {
  let value = 0xffff / (bits & 0xff_ffff)
  for (let shift = bits >>> 24; shift < 29; shift++) value *= 256
  for (let shift = bits >>> 24; shift > 29; shift--) value /= 256
  return Number(value.toPrecision(16))
}

/** Blocks on it, itself counted; -1 off the active chain. */
export const confirmations = (engine: LedgerEngine, entry: HeaderEntry): number =>
  engine.isActive(entry) ? engine.tip().height - entry.height + 1 : -1

export const headerJson = (engine: LedgerEngine, entry: HeaderEntry, txCount: number): { readonly [name: string]: Json } => {
  const { header, hash, height, chainWork, parent } = entry
  const next = engine.isActive(entry) ? engine.hashAtHeight((height + 1) as typeof height) : undefined
  return object({
    hash,
    confirmations: confirmations(engine, entry),
    height,
    version: header.version,
    versionHex: hex32(header.version),
    merkleroot: header.merkleRoot,
    time: header.time,
    mediantime: medianTimePast(entry),
    nonce: header.nonce,
    bits: hex32(header.bits),
    difficulty: difficulty(header.bits),
    chainwork: chainWorkHex(chainWork),
    nTx: txCount,
    previousblockhash: parent?.hash,
    nextblockhash: next,
  })
}

const SCRIPT_TYPES = {
  p2pk: 'pubkey',
  p2pkh: 'pubkeyhash',
  p2sh: 'scripthash',
  p2wpkh: 'witness_v0_keyhash',
  p2wsh: 'witness_v0_scripthash',
  p2tr: 'witness_v1_taproot',
  p2a: 'anchor',
  multisig: 'multisig',
  op_return: 'nulldata',
  witness_unknown: 'witness_unknown',
  nonstandard: 'nonstandard',
} as const

export const scriptJson = (script: Uint8Array, network: Network): { readonly [name: string]: Json } =>
  object({
    asm: scriptToText(script),
    desc: outputDescriptor(script, network),
    hex: bytesToHex(script),
    address: encodeAddress(script, network),
    type: SCRIPT_TYPES[classifyScript(script).type],
  })

const coinJson = ({ output, height, coinbase }: Coin, network: Network): Json => ({
  generated: coinbase,
  height,
  value: btc(output.value),
  scriptPubKey: scriptJson(output.scriptPubKey, network),
})

const SIGHASH_NAMES: ReadonlyMap<number, string> = new Map([
  [0x01, 'ALL'],
  [0x81, 'ALL|ANYONECANPAY'],
  [0x02, 'NONE'],
  [0x82, 'NONE|ANYONECANPAY'],
  [0x03, 'SINGLE'],
  [0x83, 'SINGLE|ANYONECANPAY'],
])

const isSignature = (bytes: Uint8Array): boolean => {
  try {
    checkSignatureEncoding(bytes, VERIFY.STRICTENC)
    return bytes.length > 0
  } catch {
    return false
  }
}

/** Signatures show what they sign by name, as `3044...[ALL]`. */
/** By name, as `ALL|ANYONECANPAY`; '' for another type. */
export const sighashName = (type: number): string => (type === 0 ? 'DEFAULT' : (SIGHASH_NAMES.get(type) ?? ''))

const scriptSigText = (script: Uint8Array): string => {
  // Data behind OP_RETURN may look like a signature.
  if (isUnspendable(script)) return scriptToText(script)
  return scriptToText(script)
    .split(' ')
    .map((word) => {
      if (word.length < 18 || !/^(?:[0-9a-f]{2})+$/.test(word) || !isSignature(hexToBytes(word))) return word
      return `${word.slice(0, -2)}[${SIGHASH_NAMES.get(parseInt(word.slice(-2), 16))}]`
    })
    .join(' ')
}

export const scriptSigJson = (script: Uint8Array): Json => ({ asm: scriptSigText(script), hex: bytesToHex(script) })

/** `spent`: the coins of the inputs, for the fee; shown themselves when `withPrevouts`. */
export const txJson = (
  tx: Tx,
  network: Network,
  spent?: readonly Coin[],
  withPrevouts = false,
): { readonly [name: string]: Json } => {
  const coinbase = isCoinbase(tx)
  const paid = spent?.reduce((sum, { output }) => sum + output.value, 0n)
  return object({
    txid: txid(tx),
    hash: wtxid(tx),
    version: tx.version,
    size: txTotalSize(tx),
    vsize: txVsize(tx),
    weight: txWeight(tx),
    locktime: tx.lockTime,
    vin: tx.inputs.map(({ outpoint, scriptSig, sequence, witness }, i) => {
      const coin = spent?.[i]
      return object({
        ...(coinbase
          ? { coinbase: bytesToHex(scriptSig) }
          : {
              txid: outpoint.txid,
              vout: outpoint.vout,
              scriptSig: scriptSigJson(scriptSig),
            }),
        txinwitness: witness.length === 0 ? undefined : witness.map((item) => bytesToHex(item)),
        prevout: withPrevouts && coin !== undefined ? coinJson(coin, network) : undefined,
        sequence,
      })
    }),
    vout: tx.outputs.map(({ value, scriptPubKey }, n) => ({
      value: btc(value),
      n,
      scriptPubKey: scriptJson(scriptPubKey, network),
    })),
    fee: coinbase || paid === undefined ? undefined : btc(paid - tx.outputs.reduce((sum, { value }) => sum + value, 0n)),
    hex: bytesToHex(encodeTx(tx)),
  })
}

export const blockJson = (
  engine: LedgerEngine,
  entry: HeaderEntry,
  block: Block,
  transactions: readonly Json[],
): { readonly [name: string]: Json } => ({
  ...headerJson(engine, entry, block.transactions.length),
  strippedsize: blockBaseSize(block),
  size: blockTotalSize(block),
  weight: blockWeight(block),
  tx: transactions,
})

export const mempoolEntryJson = ({ pool }: LedgerEngine, entry: MempoolEntry): { readonly [name: string]: Json } => ({
  vsize: entry.vsize,
  weight: entry.weight,
  time: entry.time,
  height: entry.height,
  descendantcount: entry.descendantCount,
  descendantsize: entry.descendantVsize,
  ancestorcount: entry.ancestorCount,
  ancestorsize: entry.ancestorVsize,
  wtxid: entry.wtxid,
  fees: {
    base: btc(entry.fee),
    modified: btc(entry.modifiedFee),
    ancestor: btc(entry.ancestorFee),
    descendant: btc(entry.descendantFee),
  },
  depends: [...entry.parents].map((parent) => parent.txid).sort(),
  spentby: [...entry.children].map((child) => child.txid).sort(),
  // BIP 125 signals it, or something that it stands on does. All of ours can be replaced; this only says what the transactions say.
  'bip125-replaceable': [...withAncestors([entry])].some(({ tx }) => signalsReplacement(tx)),
  unbroadcast: pool.unbroadcast.has(entry.txid),
})
