/**
 * The scripts of one block: what is left to run when the coins are settled, and running it in this thread.
 * Bitcoin Core validation.cpp, CheckInputScripts and CScriptCheck.
 * They are apart from the coins because they depend on nothing but the block and what it spends: a `ScriptChecker` may run them
 * elsewhere, in any order and in parts. Its answer is always the first input in block order that fails, so it cannot be told apart.
 */
import {
  scriptErrorText,
  txid,
  verifyTx,
  type Block,
  type ScriptError,
  type SignatureMemory,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import type { Undo } from './coin.ts'
import { blockViolation, type BlockViolation } from './violation.ts'

/** Scripts that a block still has to pass. */
export type ScriptChecks = {
  readonly block: Block
  /** The coins that the block spends, in the order of its inputs. */
  readonly undo: Undo
  /** Of all scripts in the block. */
  readonly flags: number
  /** Places in the block of the transactions to check, ascending. Those whose scripts are known to pass are left out. */
  readonly pending: readonly number[]
}

/** The first input of a block whose script fails. */
export type FailedScript = { readonly txIndex: number; readonly inputIndex: number; readonly error: ScriptError }

/**
 * Checks the scripts of one block. Resolves to undefined when all pass, else to the failure that comes first in the block.
 * Rejects only on a fault of ours: the block is then neither good nor bad.
 */
export type ScriptChecker = (checks: ScriptChecks) => Promise<FailedScript | undefined>

/** A transaction of a block with the outputs that it spends. */
export type SpendingTx = { readonly txIndex: number; readonly tx: Tx; readonly prevouts: readonly TxOutput[] }

/** The transactions that `pending` names with what they spend. Throws RangeError when the undo data is not the block's. */
export function* pendingSpends({ block, undo, pending }: Omit<ScriptChecks, 'flags'>): Iterable<SpendingTx> {
  const { transactions } = block
  let wanted = 0
  let at = 0
  for (let txIndex = 1; txIndex < transactions.length && wanted < pending.length; txIndex++) {
    const tx = transactions[txIndex] as Tx
    const from = at
    at += tx.inputs.length
    if (pending[wanted] !== txIndex) continue
    wanted++
    if (at > undo.length) throw new RangeError('undo data is shorter than the block')
    yield { txIndex, tx, prevouts: undo.slice(from, at).map(({ output }) => output) }
  }
}

/** Runs the scripts here and now, but for known signatures. */
export const checkScripts = (checks: ScriptChecks, signatures?: SignatureMemory): FailedScript | undefined => {
  for (const { txIndex, tx, prevouts } of pendingSpends(checks)) {
    const failed = verifyTx(tx, prevouts, checks.flags, signatures)
    if (failed !== undefined) return { txIndex, ...failed }
  }
  return undefined
}

/** The checker that needs nothing: tests, simulations, small blocks. */
export const checkScriptsHere: ScriptChecker = async (checks) => checkScripts(checks)

/** What is told about a block with such an input. */
export const scriptViolation = ({ block }: ScriptChecks, { txIndex, inputIndex, error }: FailedScript): BlockViolation =>
  blockViolation(
    `mandatory-script-verify-flag-failed (${scriptErrorText(error)})`,
    `tx ${txid(block.transactions[txIndex] as Tx)} input ${inputIndex}`,
  )
