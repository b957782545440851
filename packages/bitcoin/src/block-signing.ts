/**
 * Signing blocks: what a ledger with a challenge (BIP 325) asks of whoever makes a block, in the steps of a PSBT (BIP 174).
 * blockToSign -> a PSBT for each signer -> signBlockPsbt -> combinePsbts -> solveBlock -> proof of work, which is trivial there.
 * A signature binds version, previous block, transactions and time; nonce and difficulty are free. Whoever signs should have checked
 * the block: the PSBT alone shows only hashes.
 */
import { concat, equalBytes, Writer } from '@leyden/codec'
import { derFromCompact, ecdsaSignLowR, hash160, pointFromSecret } from '@leyden/crypto'
import { findWitnessCommitmentIndex, merkleRoot, type Block } from './block.ts'
import { checkSignetSolution, replaceOutput, SIGNET_HEADER, signetTransactions } from './consensus/signet.ts'
import type { Network } from './networks.ts'
import { extractPsbtTx, finalizePsbtInput, type PsbtFinalProblem } from './psbt-final.ts'
import { createPsbt, type Psbt } from './psbt.ts'
import { classifyScript, p2pkh, pushBytes } from './script.ts'
import { SIGHASH, sighashLegacy, sighashV0 } from './sighash.ts'
import { txid, writeVarBytes, writeWitness, type Tx } from './tx.ts'

type Challenged = Pick<Network, 'signetChallenge' | 'genesis'>

const withCommitmentScript = (block: Block, index: number, script: Uint8Array): Block => {
  const transactions = block.transactions.map((tx, i) => (i === 0 ? replaceOutput(tx, index, script) : tx))
  return { header: { ...block.header, merkleRoot: merkleRoot(transactions.map(txid)) }, transactions }
}

const commitmentOf = ({ transactions }: Block): { index: number; script: Uint8Array } => {
  const coinbase = transactions[0] as Tx
  const index = findWitnessCommitmentIndex(coinbase)
  if (index === undefined) throw new RangeError('a block to sign needs a witness commitment')
  return { index, script: (coinbase.outputs[index] as Tx['outputs'][number]).scriptPubKey }
}

const MARK = pushBytes(SIGNET_HEADER)

const endsWithMark = (script: Uint8Array): boolean =>
  script.length > MARK.length && equalBytes(script.subarray(script.length - MARK.length), MARK)

/** The block with the place for a solution in its coinbase: what the signers sign. Throws RangeError without a witness commitment. */
const withPlace = (block: Block): Block => {
  const { index, script } = commitmentOf(block)
  return endsWithMark(script) ? block : withCommitmentScript(block, index, concat(script, MARK))
}

/**
 * What signers of this ledger have to sign for the block: it with the place of the solution, and the PSBT. Throws RangeError on a ledger
 * without a challenge, or a block without a witness commitment.
 */
export const blockToSign = (block: Block, { signetChallenge }: Challenged): { readonly block: Block; readonly psbt: Psbt } => {
  if (signetChallenge === undefined) throw new RangeError('the blocks of this network are not signed')
  const placed = withPlace(block)
  const { index } = commitmentOf(placed)
  const spend = signetTransactions(placed, placed.transactions[0] as Tx, index, signetChallenge)
  if (spend === undefined) throw new RangeError('the block holds a malformed solution')
  const psbt = createPsbt(spend.tx)
  const spent = { nonWitnessUtxo: spend.toSpend, witnessUtxo: spend.toSpend.outputs[0] as Tx['outputs'][number] }
  return { block: placed, psbt: { ...psbt, inputs: psbt.inputs.map((input) => ({ ...input, ...spent })) } }
}

/**
 * The PSBT with a signature of each of these secrets that its challenge asks for: a key, its hash, or a multisig, also in P2WSH or P2SH
 * when the PSBT holds the script.
 */
export const signBlockPsbt = (psbt: Psbt, secrets: readonly Uint8Array[]): Psbt => {
  const input = psbt.inputs[0]
  const output = input?.witnessUtxo
  if (input === undefined || output === undefined || psbt.inputs.length !== 1) throw new RangeError('not a PSBT of a block')
  const outer = classifyScript(output.scriptPubKey)
  const redeemScript = outer.type === 'p2sh' ? input.redeemScript : undefined
  const program = redeemScript ?? output.scriptPubKey
  const form = classifyScript(program)
  const isV0 = form.type === 'p2wpkh' || form.type === 'p2wsh'
  const script = form.type === 'p2wsh' ? input.witnessScript : form.type === 'p2wpkh' ? p2pkh(form.hash) : program
  if (script === undefined) return psbt
  const asked = classifyScript(script)
  const wants = (point: Uint8Array): boolean =>
    asked.type === 'multisig'
      ? asked.points.some((one) => equalBytes(one, point))
      : asked.type === 'p2pk'
        ? equalBytes(asked.point, point)
        : asked.type === 'p2pkh' && equalBytes(asked.hash, hash160(point))
  const hash = isV0 ? sighashV0(psbt.tx, 0, script, output.value, SIGHASH.all) : sighashLegacy(psbt.tx, 0, script, SIGHASH.all)
  const made = secrets.flatMap((secret) => {
    const point = pointFromSecret(secret)
    if (!wants(point)) return []
    return [{ point, signature: concat(derFromCompact(ecdsaSignLowR(hash, secret)), Uint8Array.of(SIGHASH.all)) }]
  })
  const others = input.partialSignatures.filter(({ point }) => !made.some((one) => equalBytes(one.point, point)))
  return { ...psbt, inputs: [{ ...input, partialSignatures: [...others, ...made] }] }
}

/** The block with the solution of a PSBT that has signatures enough, still without proof of work; or what the PSBT lacks. */
export const solveBlock = (block: Block, psbt: Psbt, network: Challenged): Block | PsbtFinalProblem | 'other_block' => {
  const wanted = blockToSign(block, network)
  if (txid(wanted.psbt.tx) !== txid(psbt.tx)) return 'other_block'
  const final = finalizePsbtInput(psbt, 0)
  if (typeof final === 'string') return final
  const input = (extractPsbtTx(final) as Tx).inputs[0] as Tx['inputs'][number]
  const w = new Writer()
  w.bytes(SIGNET_HEADER)
  writeVarBytes(w, input.scriptSig)
  writeWitness(w, input.witness)
  const { index, script } = commitmentOf(wanted.block)
  const solved = concat(script.subarray(0, script.length - MARK.length), pushBytes(w.finish()))
  return withCommitmentScript(wanted.block, index, solved)
}

/** Signs with all that the challenge asks of one signer, which may be nothing. Undefined when these secrets do not suffice. */
export const signBlock = (block: Block, secrets: readonly Uint8Array[], network: Network): Block | undefined => {
  if (checkSignetSolution(block, network)) return block
  const { block: placed, psbt } = blockToSign(block, network)
  const solved = solveBlock(placed, signBlockPsbt(psbt, secrets), network)
  return typeof solved !== 'string' && checkSignetSolution(solved, network) ? solved : undefined
}
