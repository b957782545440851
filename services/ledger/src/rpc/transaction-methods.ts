/** Transactions on their way in: Bitcoin Core 28.1 rpc/mempool.cpp, node/transaction.cpp. */
import { unreachable } from '@leyden/codec'
import { isUnspendable, MAX_SCRIPT_ELEMENT_SIZE, OP, parseScript, txid, wtxid, type Tx, type Txid } from '@leyden/bitcoin'
import {
  feeForVsize,
  isChildWithParentsTree,
  MAX_PACKAGE_COUNT,
  type PackageVerdict,
  type Rejection,
  type Verdict,
} from '@leyden/ledger'
import type { LedgerEngine, TransactionOutcome } from '../engine.ts'
import { parseTx, RPC, RpcError } from './call.ts'
import { btc, type Json } from './json-text.ts'
import type { Methods } from './method.ts'

/** A refusal in words: the reason, and what more there is to say. */
const sentence = ({ reason, detail }: { readonly reason: string; readonly detail?: string }): string =>
  detail === undefined || detail === '' ? reason : `${reason}, ${detail}`

const FEE_TOO_HIGH = 'Fee exceeds maximum configured by user (e.g. -maxtxfee, maxfeerate)'
const ALREADY_CONFIRMED = 'Transaction outputs already in utxo set'

/** A script of which no step can be read, or that pushes too much: nobody will ever spend it. */
const isBroken = (script: Uint8Array): boolean => {
  try {
    return parseScript(script).some(
      ({ opcode, data }) => opcode > OP.OP_NOP10 || (data !== undefined && data.length > MAX_SCRIPT_ELEMENT_SIZE),
    )
  } catch {
    return true
  }
}

const checkBurn = (tx: Tx, maxBurn: bigint): void => {
  if (tx.outputs.some(({ value, scriptPubKey }) => value > maxBurn && (isUnspendable(scriptPubKey) || isBroken(scriptPubKey))))
    throw new RpcError(RPC.verify, 'Unspendable output exceeds maximum configured by user (maxburnamount)')
}

const refusal = (why: Rejection): RpcError => {
  if (why.reason === 'max-fee-exceeded') return new RpcError(RPC.verify, FEE_TOO_HIGH)
  return new RpcError(why.kind === 'missing' ? RPC.verify : RPC.verifyRejected, sentence(why))
}

const inUtxoSet = async (engine: LedgerEngine, tx: Tx): Promise<boolean> => {
  const id = txid(tx)
  for (let vout = 0; vout < tx.outputs.length; vout++) if (await engine.isUnspent({ txid: id, vout })) return true
  return false
}

/** Takes a transaction of ours and tells the peers; one that waits already is told of again. */
const send = async (engine: LedgerEngine, tx: Tx, maxFeeratePerKvb: number | undefined): Promise<Txid> => {
  const id = txid(tx)
  if (await inUtxoSet(engine, tx)) throw new RpcError(RPC.verifyAlreadyInUtxoSet, ALREADY_CONFIRMED)
  const limit = maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb }
  const outcome = await engine.submitTransaction(tx, { ...limit, local: true })
  if (outcome.status === 'rejected') throw refusal(outcome.rejection as Rejection)
  if (outcome.status === 'known') engine.announceAgain(id)
  return id
}

type Accepted = Extract<Verdict, { status: 'accepted' }>

const feesJson = ({ entry, effectiveFeeratePerKvb, effectiveIncludes }: Accepted): Json => ({
  base: btc(entry.fee),
  'effective-feerate': btc(BigInt(effectiveFeeratePerKvb)),
  'effective-includes': [...effectiveIncludes],
})

const verdictOf = (outcome: TransactionOutcome): Verdict => {
  const { status, entry, effectiveFeeratePerKvb, effectiveIncludes, rejection } = outcome
  if (status !== 'accepted' || entry === undefined || effectiveFeeratePerKvb === undefined || effectiveIncludes === undefined)
    return { status: 'rejected', rejection: rejection as Rejection }
  return { status, entry, effectiveFeeratePerKvb, effectiveIncludes, replaced: [] }
}

/** After one whose fee is too high the rest stays unjudged: it would not be sent either. */
const testJson = (
  transactions: readonly Tx[],
  verdicts: PackageVerdict['verdicts'],
  maxFeeratePerKvb: number | undefined,
): Json => {
  let ended = false
  return transactions.map((tx) => {
    const head = { txid: txid(tx), wtxid: wtxid(tx) }
    const verdict = verdicts.get(wtxid(tx))
    if (ended || verdict === undefined) return head
    if (verdict.status === 'rejected') {
      const { kind, reason } = verdict.rejection
      return { ...head, allowed: false, 'reject-reason': kind === 'missing' ? 'missing-inputs' : reason }
    }
    if (verdict.status !== 'accepted') return head
    const { vsize, fee } = verdict.entry
    if (maxFeeratePerKvb !== undefined && fee > feeForVsize(maxFeeratePerKvb, vsize)) {
      ended = true
      return { ...head, allowed: false, 'reject-reason': 'max-fee-exceeded' }
    }
    return { ...head, allowed: true, vsize, fees: feesJson(verdict) }
  })
}

const memberJson = (tx: Tx, verdict: Verdict | undefined): Json => {
  const head = { txid: txid(tx) }
  if (verdict === undefined) return { ...head, error: 'unevaluated' }
  switch (verdict.status) {
    case 'rejected':
      return { ...head, error: sentence(verdict.rejection) }
    case 'otherWitness':
      return { ...head, 'other-wtxid': verdict.entry.wtxid }
    case 'known':
      return { ...head, vsize: verdict.entry.vsize, fees: { base: btc(verdict.entry.fee) } }
    case 'accepted':
      return { ...head, vsize: verdict.entry.vsize, fees: feesJson(verdict) }
    default:
      return unreachable(verdict)
  }
}

/** A package that was not judged as a whole shows no transactions. */
const packageJson = (transactions: readonly Tx[], { problem, verdicts }: PackageVerdict): Json => {
  const judged = transactions.filter((tx) => verdicts.has(wtxid(tx)))
  const replaced = new Set(
    [...verdicts.values()].flatMap((verdict) =>
      verdict.status === 'accepted' ? verdict.replaced.map(({ txid: id }) => id) : [],
    ),
  )
  return {
    package_msg: problem === undefined ? 'success' : sentence(problem),
    'tx-results': Object.fromEntries(judged.map((tx) => [wtxid(tx), memberJson(tx, verdicts.get(wtxid(tx)))])),
    'replaced-transactions': [...replaced],
  }
}

export const transactionMethods: Methods = {
  sendrawtransaction: {
    params: ['hexstring', 'maxfeerate', 'maxburnamount'],
    about: 'Takes a transaction into the mempool and tells the peers.',
    run({ engine }, args) {
      const maxBurn = args.amount(2, 0n)
      const tx = parseTx(args.string(0))
      checkBurn(tx, maxBurn)
      return send(engine, tx, args.maxFeerate(1))
    },
  },
  testmempoolaccept: {
    params: ['rawtxs', 'maxfeerate'],
    about: 'Whether the mempool would take these transactions.',
    async run({ engine }, args) {
      const transactions = args.transactions(0, 1, MAX_PACKAGE_COUNT)
      const maxFeeratePerKvb = args.maxFeerate(1)
      const [only] = transactions
      if (transactions.length === 1 && only !== undefined) {
        const outcome = await engine.submitTransaction(only, { dryRun: true })
        return testJson([only], new Map([[wtxid(only), verdictOf(outcome)]]), maxFeeratePerKvb)
      }
      const { problem, verdicts } = await engine.submitPackage(transactions, { dryRun: true })
      if (problem?.kind === 'policy')
        return transactions.map((tx) => ({ txid: txid(tx), wtxid: wtxid(tx), 'package-error': sentence(problem) }))
      return testJson(transactions, verdicts, maxFeeratePerKvb)
    },
  },
  submitpackage: {
    params: ['package', 'maxfeerate', 'maxburnamount'],
    about: 'Takes a child with its parents into the mempool; the child may pay for them.',
    async run({ engine }, args) {
      const transactions = args.transactions(0, 2, MAX_PACKAGE_COUNT)
      const maxFeeratePerKvb = args.maxFeerate(1)
      const maxBurn = args.amount(2, 0n)
      for (const tx of transactions) checkBurn(tx, maxBurn)
      if (!isChildWithParentsTree(transactions))
        throw new RpcError(RPC.verify, 'package topology disallowed. not child-with-parents or parents depend on each other.')
      const limit = maxFeeratePerKvb === undefined ? {} : { maxFeeratePerKvb }
      const verdict = await engine.submitPackage(transactions, limit)
      for (const tx of transactions) if (verdict.verdicts.get(wtxid(tx))?.status !== 'accepted') engine.announceAgain(txid(tx))
      return packageJson(transactions, verdict)
    },
  },
}
