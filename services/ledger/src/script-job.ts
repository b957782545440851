/**
 * The script checks of one block as memory that several threads work on at once: the transactions in their own bytes, each followed by
 * the outputs that it spends, cut into pieces of a few inputs, and who has come how far.
 * Threads take pieces in block order from one counter. A failure ends the taking; every piece before it has been taken by then and
 * will be finished: so the lowest failure is the first in the block, no matter how the threads ran.
 * Nothing here knows what a thread is: script-pool.ts does.
 */
import { Reader, Writer } from '@leyden/codec'
import {
  forkIdOf,
  readOutput,
  SCRIPT_ERRORS,
  sighashCache,
  txCodec,
  verifyInput,
  withForkId,
  writeOutput,
  type SighashCache,
  type SignatureMemory,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import { pendingSpends, type FailedScript, type ScriptChecks, type SpendingTx } from '@leyden/ledger'

/** Words at the start of the memory, then those of the transactions, then those of the pieces, then the bytes. */
const NEXT = 0
const FINISHED = 1
const FLAGS = 2
const PIECES = 3
const PIECE_INPUTS = 4
const INPUTS_LEFT_TO_LAST = 5
const PIECES_AT = 6
const BYTES_AT = 7
/** Flags of a fork do not fit in one word: its id stands here. */
const FORK_ID = 8
const HEAD_WORDS = 9

/** Of a transaction: its place in the block, where its bytes begin, how many inputs it has. */
const TX_WORDS = 3
/** Of a piece: which transaction (among those to check) and input it begins with; then its failure: 1 + place in block, input, error. */
const PIECE_WORDS = 5

/** More than the counter of pieces ever reaches by counting. */
const STOPPED = 0x4000_0000

type Loaded = { readonly ordinal: number; readonly tx: Tx; readonly prevouts: readonly TxOutput[]; readonly cache: SighashCache }

/** One thread's way into the memory of a job. */
export type ScriptJob = {
  readonly words: Int32Array
  readonly bytes: Uint8Array
  /** The transaction last worked on: a large one is cut into many pieces. */
  loaded: Loaded | undefined
  /** In the thread that made the job: the transactions themselves, so that it need not decode them. */
  readonly spends: readonly SpendingTx[] | undefined
}

/** How many inputs there are to check. */
export const inputsToCheck = ({ block, pending }: ScriptChecks): number =>
  pending.reduce((n, index) => n + (block.transactions[index]?.inputs.length ?? 0), 0)

/** The memory of a job, in pieces of so many inputs. Throws RangeError when the undo data is not the block's. */
export const makeScriptJob = (
  checks: ScriptChecks,
  pieceInputs: number,
  spends: Iterable<SpendingTx> = pendingSpends(checks),
): SharedArrayBuffer => {
  const transactions: number[] = []
  const pieces: number[] = []
  const content = new Writer(1 << 16)
  let inputs = 0
  let ordinal = 0
  for (const { txIndex, tx, prevouts } of spends) {
    transactions.push(txIndex, content.length, tx.inputs.length)
    txCodec.encode(content, tx)
    for (const output of prevouts) writeOutput(content, output)
    for (let input = (pieceInputs - (inputs % pieceInputs)) % pieceInputs; input < tx.inputs.length; input += pieceInputs)
      pieces.push(ordinal, input, 0, 0, 0)
    inputs += tx.inputs.length
    ordinal++
  }
  const pieceCount = pieces.length / PIECE_WORDS
  const piecesAt = HEAD_WORDS + transactions.length
  const bytesAt = 4 * (piecesAt + pieces.length)
  const memory = new SharedArrayBuffer(bytesAt + content.length)
  const words = new Int32Array(memory, 0, piecesAt + pieces.length)
  words[FLAGS] = checks.flags | 0
  words[FORK_ID] = forkIdOf(checks.flags)
  words[PIECES] = pieceCount
  words[PIECE_INPUTS] = pieceInputs
  words[INPUTS_LEFT_TO_LAST] = inputs - (pieceCount - 1) * pieceInputs
  words[PIECES_AT] = piecesAt
  words[BYTES_AT] = bytesAt
  words.set(transactions, HEAD_WORDS)
  words.set(pieces, piecesAt)
  new Uint8Array(memory, bytesAt).set(content.finish())
  return memory
}

/** `spends`: what the job was made of, where that is at hand. */
export const openScriptJob = (memory: SharedArrayBuffer, spends?: readonly SpendingTx[]): ScriptJob => {
  const head = new Int32Array(memory, 0, HEAD_WORDS)
  const bytesAt = head[BYTES_AT] as number
  return { words: new Int32Array(memory, 0, bytesAt / 4), bytes: new Uint8Array(memory, bytesAt), loaded: undefined, spends }
}

const load = (job: ScriptJob, ordinal: number): Loaded => {
  if (job.loaded?.ordinal === ordinal) return job.loaded
  const given = job.spends?.[ordinal]
  if (given !== undefined) {
    job.loaded = { ordinal, tx: given.tx, prevouts: given.prevouts, cache: sighashCache(given.tx) }
    return job.loaded
  }
  const at = HEAD_WORDS + ordinal * TX_WORDS
  const from = job.words[at + 1] as number
  const isLast = at + TX_WORDS === job.words[PIECES_AT]
  // A copy: what native code is given must not be memory that other threads see.
  const reader = new Reader(job.bytes.slice(from, isLast ? undefined : job.words[at + TX_WORDS + 1]))
  const tx = txCodec.decode(reader)
  const prevouts = tx.inputs.map(() => readOutput(reader))
  reader.expectEnd()
  job.loaded = { ordinal, tx, prevouts, cache: sighashCache(tx) }
  return job.loaded
}

const runPiece = (job: ScriptJob, piece: number, signatures: SignatureMemory | undefined): void => {
  const { words } = job
  const at = (words[PIECES_AT] as number) + piece * PIECE_WORDS
  const flags = withForkId(words[FLAGS] as number, words[FORK_ID] as number)
  let ordinal = words[at] as number
  let inputIndex = words[at + 1] as number
  let left = words[piece + 1 === words[PIECES] ? INPUTS_LEFT_TO_LAST : PIECE_INPUTS] as number
  for (; left > 0; left--) {
    while (inputIndex >= (words[HEAD_WORDS + ordinal * TX_WORDS + 2] as number)) {
      ordinal++
      inputIndex = 0
    }
    const { tx, prevouts, cache } = load(job, ordinal)
    const error = verifyInput({ tx, inputIndex, prevouts, flags, cache, signatures })
    if (error !== undefined) {
      words[at + 3] = inputIndex
      words[at + 4] = SCRIPT_ERRORS.indexOf(error)
      Atomics.store(words, at + 2, 1 + (words[HEAD_WORDS + ordinal * TX_WORDS] as number))
      stopScriptJob(job)
      return
    }
    inputIndex++
  }
}

/** Nobody takes another piece. */
export const stopScriptJob = ({ words }: ScriptJob): void => {
  // Those taken so far stay known: they are below what the counter had reached
  for (let next = Atomics.load(words, NEXT); next < STOPPED; next = Atomics.load(words, NEXT))
    Atomics.compareExchange(words, NEXT, next, STOPPED + Math.min(next, words[PIECES] as number))
}

/** Takes the next piece and runs it, but for known signatures. False when none is left. */
export const runNextPiece = (job: ScriptJob, signatures?: SignatureMemory): boolean => {
  const { words } = job
  const piece = Atomics.load(words, NEXT)
  if (piece >= (words[PIECES] as number)) return false
  if (Atomics.compareExchange(words, NEXT, piece, piece + 1) !== piece) return true
  runPiece(job, piece, signatures)
  Atomics.add(words, FINISHED, 1)
  return true
}

/** Whether every piece that somebody took has been finished, and nobody can take another. */
export const isFinished = ({ words }: ScriptJob): boolean => {
  const next = Atomics.load(words, NEXT)
  const pieces = words[PIECES] as number
  const taken = next >= STOPPED ? next - STOPPED : next
  return (next >= STOPPED || taken === pieces) && Atomics.load(words, FINISHED) === taken
}

/** The first failure in block order, of a finished job. */
export const failureIn = ({ words }: ScriptJob): FailedScript | undefined => {
  for (let at = words[PIECES_AT] as number; at < words.length; at += PIECE_WORDS) {
    const place = Atomics.load(words, at + 2)
    const error = SCRIPT_ERRORS[words[at + 4] as number]
    if (place > 0 && error !== undefined) return { txIndex: place - 1, inputIndex: words[at + 3] as number, error }
  }
  return undefined
}
