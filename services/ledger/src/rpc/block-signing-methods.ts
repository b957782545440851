/**
 * Blocks that several members sign (BIP 325), in three calls: one proposes, the others check and sign, one submits.
 * Bitcoin Core leaves this to a script over its wallet; here a member's node signs what it has checked itself. specs/own-network.md.
 */
import { bytesToHex } from '@leyden/codec'
import {
  blockToSign,
  combinePsbts,
  encodeBlock,
  psbtFromBase64,
  psbtToBase64,
  signBlockPsbt,
  solveBlock,
  txid,
  type Block,
  type Psbt,
} from '@leyden/bitcoin'
import { findNonce } from '@leyden/ledger'
import type { LedgerEngine } from '../engine.ts'
import { RPC, RpcError } from './call.ts'
import { outcomeOf, scriptOf } from './mining-methods.ts'
import { parseBlock } from './template-methods.ts'
import type { Methods } from './method.ts'

const SIGN_FIRST = 'The block is not solved by these signatures: let more members sign it (signblock)'

const expectSigned = ({ network }: LedgerEngine): void => {
  if (network.signetChallenge === undefined)
    throw new RpcError(RPC.misc, `The blocks of ${network.name} are not signed: use generatetoaddress`)
}

const parsePsbt = (text: unknown): Psbt => {
  try {
    if (typeof text === 'string') return psbtFromBase64(text)
  } catch {
    // Not a PSBT: told below.
  }
  throw new RpcError(RPC.deserialization, 'TX decode failed, not a PSBT in base64')
}

/** The PSBTs as one. All must be of this block. */
const joined = (engine: LedgerEngine, block: Block, texts: readonly unknown[]): Psbt => {
  const { psbt } = blockToSign(block, engine.network)
  return texts.map(parsePsbt).reduce((all, one) => {
    if (txid(one.tx) !== txid(psbt.tx)) throw new RpcError(RPC.invalidParameter, 'The PSBT is of another block')
    return combinePsbts(all, one)
  }, psbt)
}

const parseSignable = (hex: string): Block => {
  const block = parseBlock(hex)
  const [coinbase] = block.transactions
  if (coinbase === undefined || coinbase.inputs.length === 0)
    throw new RpcError(RPC.deserialization, 'Block does not start with a coinbase')
  return block
}

export const blockSigningMethods: Methods = {
  proposeblock: {
    params: ['address:string'],
    about: 'Where blocks are signed: a block with the reward to an address, and the PSBT that its signers sign.',
    async run({ engine }, args) {
      const script = scriptOf(engine, args.string(0), 'Error: Invalid address')
      expectSigned(engine)
      const { block, psbt } = blockToSign((await engine.template(script)).block, engine.network)
      return { block: bytesToHex(encodeBlock(block)), psbt: psbtToBase64(psbt) }
    },
  },
  signblock: {
    params: ['block:string', 'psbt:string'],
    about: 'Checks a proposed block against this chain, and only then signs its PSBT with signingKeys.',
    async run({ engine, signers }, args) {
      const block = parseSignable(args.string(0))
      const text = args.string(1)
      expectSigned(engine)
      if (signers.length === 0) throw new RpcError(RPC.misc, 'This node signs nothing: start it with signingKeys')
      const psbt = joined(engine, block, [text])
      const broken = await engine.testBlock(block)
      if (broken !== undefined) throw new RpcError(RPC.verifyRejected, `The block is not signed: ${broken.reason}`)
      const signed = signBlockPsbt(psbt, signers)
      return { psbt: psbtToBase64(signed), complete: typeof solveBlock(block, signed, engine.network) !== 'string' }
    },
  },
  submitsignedblock: {
    params: ['block:string', 'psbt:any'],
    about:
      'Puts the signatures of a PSBT (or a list of them) into a proposed block and takes it; null when it is on the chain now.',
    async run({ engine }, args) {
      const block = parseSignable(args.string(0))
      // bitcoin-cli gives strings only: then one that has been from signer to signer.
      const psbts = typeof args.raw(1) === 'string' ? [args.string(1)] : args.array(1)
      expectSigned(engine)
      const solved = solveBlock(block, joined(engine, block, psbts), engine.network)
      if (typeof solved === 'string') throw new RpcError(RPC.verify, SIGN_FIRST)
      const worked = findNonce(solved)
      if (worked === undefined) throw new RpcError(RPC.misc, 'The work that this network asks for is out of reach here')
      return outcomeOf(await engine.submitBlock(worked))
    },
  },
}
