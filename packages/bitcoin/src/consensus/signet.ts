/**
 * Signed blocks of a signet. BIP 325: the solution stands in the coinbase's witness commitment output, after 0xecc7daa2, and
 * satisfies the challenge over the block without it. A block without a solution passes only where the challenge asks for none.
 * Making solutions is ../block-signing.ts.
 */
import { concat, DecodeError, Reader, Writer } from '@leyden/codec'
import { blockHash, findWitnessCommitmentIndex, merkleTree, type Block } from '../block.ts'
import { blockHashToBytes, hashFromHex, Txid, ZERO_HASH } from '../ids.ts'
import { verifyInput } from '../interpreter.ts'
import type { Network } from '../networks.ts'
import { OP } from '../opcode.ts'
import { VERIFY } from '../script-rules.ts'
import { pushBytes, readOp, type OpCursor } from '../script.ts'
import { NULL_VOUT, readVarBytes, readWitness, txid, type Tx } from '../tx.ts'
import { Sat } from '../units.ts'

/** What a solution stands after, in the coinbase output of the witness commitment. */
export const SIGNET_HEADER: Uint8Array = Uint8Array.of(0xec, 0xc7, 0xda, 0xa2)
const FLAGS = VERIFY.P2SH | VERIFY.WITNESS | VERIFY.DERSIG | VERIFY.NULLDUMMY

const isSolution = (data: Uint8Array): boolean =>
  data.length > SIGNET_HEADER.length && SIGNET_HEADER.every((byte, i) => data[i] === byte)

/** The script with its solution cut down to the header, and the solution, undefined when there is none. */
const cutSolution = (script: Uint8Array): { script: Uint8Array; solution: Uint8Array | undefined } => {
  const parts: Uint8Array[] = []
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  let solution: Uint8Array | undefined
  for (let at = 0; at < script.length && readOp(script, at, op); at = op.next) {
    const data = script.subarray(op.from, op.to)
    if (solution === undefined && isSolution(data)) {
      solution = data.subarray(SIGNET_HEADER.length)
      parts.push(pushBytes(SIGNET_HEADER))
    } else parts.push(data.length > 0 ? pushBytes(data) : Uint8Array.of(op.opcode))
  }
  return { script: solution === undefined ? script : concat(...parts), solution }
}

/** The transaction with another script in that output. */
export const replaceOutput = (tx: Tx, index: number, scriptPubKey: Uint8Array): Tx => ({
  ...tx,
  outputs: tx.outputs.map((output, i) => (i === index ? { ...output, scriptPubKey } : output)),
})

/** What the solution signs: version, previous hash, merkle root without the solution, time. */
const signedData = (block: Block, coinbase: Tx): Uint8Array => {
  const leaves = block.transactions.map((tx, i) => hashFromHex(txid(i === 0 ? coinbase : tx)))
  const w = new Writer()
  w.u32le(block.header.version >>> 0)
  w.bytes(blockHashToBytes(block.header.previousHash))
  w.bytes(merkleTree(leaves).root)
  w.u32le(block.header.time)
  return w.finish()
}

const decodeSolution = (solution: Uint8Array): { scriptSig: Uint8Array; witness: Uint8Array[] } | undefined => {
  try {
    const r = new Reader(solution)
    const parts = { scriptSig: readVarBytes(r), witness: readWitness(r) }
    r.expectEnd()
    return parts
  } catch (error) {
    if (error instanceof DecodeError) return undefined
    throw error
  }
}

/**
 * The two virtual transactions of BIP 325 for a block whose coinbase output `index` holds the commitment: `toSpend` has the challenge
 * as its only output, `tx` spends it. Undefined when the solution is malformed.
 */
export const signetTransactions = (
  block: Block,
  coinbase: Tx,
  index: number,
  challenge: Uint8Array,
): { readonly toSpend: Tx; readonly tx: Tx } | undefined => {
  const { script, solution } = cutSolution(coinbase.outputs[index]!.scriptPubKey)
  const parts = solution === undefined ? { scriptSig: new Uint8Array(0), witness: [] } : decodeSolution(solution)
  if (parts === undefined) return undefined
  const data = signedData(block, replaceOutput(coinbase, index, script))
  const toSpend: Tx = {
    version: 0,
    inputs: [
      {
        outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
        scriptSig: concat(Uint8Array.of(OP.OP_0), pushBytes(data)),
        sequence: 0,
        witness: [],
      },
    ],
    outputs: [{ value: Sat(0n), scriptPubKey: challenge }],
    lockTime: 0,
  }
  const tx: Tx = {
    version: 0,
    inputs: [{ outpoint: { txid: txid(toSpend), vout: 0 }, sequence: 0, ...parts }],
    outputs: [{ value: Sat(0n), scriptPubKey: Uint8Array.of(OP.OP_RETURN) }],
    lockTime: 0,
  }
  return { toSpend, tx }
}

/** Whether the block carries a solution to the network's challenge. True where there is no challenge, and for genesis. */
export const checkSignetSolution = (block: Block, network: Network): boolean => {
  const challenge = network.signetChallenge
  if (challenge === undefined || blockHash(block.header) === blockHash(network.genesis.header)) return true
  const coinbase = block.transactions[0]
  const index = coinbase === undefined ? undefined : findWitnessCommitmentIndex(coinbase)
  if (coinbase === undefined || index === undefined) return false
  const spend = signetTransactions(block, coinbase, index, challenge)
  if (spend === undefined) return false
  return verifyInput({ tx: spend.tx, inputIndex: 0, prevouts: spend.toSpend.outputs, flags: FLAGS }) === undefined
}
