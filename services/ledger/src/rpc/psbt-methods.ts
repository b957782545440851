/**
 * Partially signed transactions: Bitcoin Core rpc/rawtransaction.cpp, node/psbt.cpp. BIP 174, BIP 371. What they hold is psbt-json.ts, what
 * is added to them psbt-update.ts.
 */
import { bytesToHex, DecodeError } from '@leyden/codec'
import {
  combinePsbts,
  createPsbt,
  emptyKnowledge,
  encodeTx,
  extractPsbtTx,
  finalizePsbtInput,
  psbtFromBase64,
  psbtToBase64,
  SIGHASH,
  type Psbt,
} from '@leyden/bitcoin'
import { randomBytes } from '@leyden/crypto'
import { kindOf, RPC, RpcError, type Arguments } from './call.ts'
import { scriptsOf } from './descriptor.ts'
import type { Methods } from './method.ts'
import { analyzePsbt } from './psbt-analysis.ts'
import { psbtJson } from './psbt-json.ts'
import { signPsbtInput, updatePsbt } from './psbt-update.ts'
import { decodeAnyTx, nextForkId, readSighashType, unsignedTx } from './raw-methods.ts'

const readPsbt = (text: unknown): Psbt => {
  if (typeof text !== 'string') throw new RpcError(RPC.type, `JSON value of type ${kindOf(text)} is not of expected type string`)
  try {
    return psbtFromBase64(text)
  } catch (error) {
    const detail = error instanceof DecodeError ? error.message.replace(/^\w+: psbt: /, '') : String(error)
    throw new RpcError(RPC.deserialization, `TX decode failed ${detail === 'not base64' ? 'invalid base64' : detail}`)
  }
}

const readPsbts = (args: Arguments): Psbt[] => args.array(0).map(readPsbt)

/** Finishes every input that can be. */
const finalizeAll = (psbt: Psbt): Psbt =>
  psbt.inputs.reduce((at: Psbt, _, i) => {
    const finished = finalizePsbtInput(at, i)
    return typeof finished === 'string' ? at : finished
  }, psbt)

const shuffled = <T>(list: readonly T[]): T[] => {
  const rest = [...list]
  const result: T[] = []
  while (rest.length > 0) {
    const bytes = randomBytes(4)
    const pick = new DataView(bytes.buffer, bytes.byteOffset).getUint32(0) % rest.length
    result.push(...rest.splice(pick, 1))
  }
  return result
}

export const psbtMethods: Methods = {
  createpsbt: {
    params: ['inputs', 'outputs', 'locktime', 'replaceable'],
    about: 'A partially signed transaction of these inputs and outputs, not signed at all yet.',
    run: (context, args) => psbtToBase64(createPsbt(unsignedTx(context, args))),
  },
  converttopsbt: {
    params: ['hexstring', 'permitsigdata', 'iswitness'],
    about: 'A partially signed transaction of a raw one.',
    run(_context, args) {
      const tx = decodeAnyTx(args.string(0), args.has(2) ? args.bool(2) : undefined)
      const isSigned = tx.inputs.some(({ scriptSig, witness }) => scriptSig.length > 0 || witness.length > 0)
      if (isSigned && !args.bool(1, false))
        throw new RpcError(RPC.deserialization, 'Inputs must not have scriptSigs and scriptWitnesses')
      return psbtToBase64(createPsbt(tx))
    },
  },
  decodepsbt: {
    params: ['psbt'],
    about: 'A partially signed transaction as JSON.',
    run: ({ engine: { network } }, args) => psbtJson(readPsbt(args.string(0)), network),
  },
  combinepsbt: {
    params: ['txs'],
    about: 'What several copies of one partially signed transaction know together.',
    run(_context, args) {
      const [first, ...others] = readPsbts(args)
      if (first === undefined) throw new RpcError(RPC.invalidParameter, "Parameter 'txs' cannot be empty")
      try {
        return psbtToBase64(others.reduce(combinePsbts, first))
      } catch (error) {
        if (error instanceof RangeError) throw new RpcError(RPC.invalidParameter, 'PSBTs not compatible (different transactions)')
        throw error
      }
    },
  },
  joinpsbts: {
    params: ['txs'],
    about: 'One partially signed transaction with the inputs and outputs of several different ones, in a random order.',
    run(_context, args) {
      const psbts = readPsbts(args)
      if (psbts.length <= 1) throw new RpcError(RPC.invalidParameter, 'At least two PSBTs are required to join PSBTs.')
      const inputs = psbts.flatMap((psbt) => psbt.tx.inputs.map((input, i) => ({ input, about: psbt.inputs[i]! })))
      const outputs = psbts.flatMap((psbt) => psbt.tx.outputs.map((output, i) => ({ output, about: psbt.outputs[i]! })))
      const seen = new Set<string>()
      for (const { input } of inputs) {
        const key = `${input.outpoint.txid}:${input.outpoint.vout}`
        if (seen.has(key)) throw new RpcError(RPC.invalidParameter, `Input ${key} exists in multiple PSBTs`)
        seen.add(key)
      }
      const [ins, outs] = [shuffled(inputs), shuffled(outputs)]
      const joined: Psbt = {
        tx: {
          version: psbts.reduce((most, { tx }) => Math.max(most, tx.version), 0),
          inputs: ins.map(({ input }) => input),
          outputs: outs.map(({ output }) => output),
          lockTime: psbts.reduce((least, { tx }) => Math.min(least, tx.lockTime), 0xffff_ffff),
        },
        inputs: ins.map(({ about }) => about),
        outputs: outs.map(({ about }) => about),
        others: psbts.flatMap(({ others }) => others),
      }
      return psbtToBase64(joined)
    },
  },
  finalizepsbt: {
    params: ['psbt', 'extract'],
    about: 'Finishes the inputs that have all signatures; when all are finished, the transaction to send.',
    run(_context, args) {
      const psbt = finalizeAll(readPsbt(args.string(0)))
      const tx = extractPsbtTx(psbt)
      if (tx !== undefined && args.bool(1, true)) return { hex: bytesToHex(encodeTx(tx)), complete: true }
      return { psbt: psbtToBase64(psbt), complete: tx !== undefined }
    },
  },
  utxoupdatepsbt: {
    params: ['psbt', 'descriptors'],
    about: 'Adds what this node knows of the outputs that are spent, and what descriptors say of them.',
    async run({ engine }, args) {
      const knowledge = emptyKnowledge()
      for (const item of args.has(1) ? args.array(1) : []) scriptsOf(item, engine.network, knowledge)
      return psbtToBase64(await updatePsbt(engine, readPsbt(args.string(0)), knowledge))
    },
  },
  analyzepsbt: {
    params: ['psbt'],
    about: 'What each input of a partially signed transaction lacks, and who is next.',
    run: (_context, args) => analyzePsbt(readPsbt(args.string(0))),
  },
  descriptorprocesspsbt: {
    params: ['psbt', 'descriptors', 'sighashtype', 'bip32derivs', 'finalize'],
    about: 'Adds what this node and descriptors know, and signs with the private keys in them.',
    async run({ engine }, args) {
      const knowledge = emptyKnowledge()
      for (const item of args.array(1)) scriptsOf(item, engine.network, knowledge)
      const type = readSighashType(args, 2)
      const updated = await updatePsbt(engine, readPsbt(args.string(0)), knowledge, args.bool(3, true))
      const signed = updated.inputs.reduce(
        (psbt: Psbt, _, i) => signPsbtInput(psbt, i, knowledge, type ?? SIGHASH.default, nextForkId(engine)),
        updated,
      )
      const finished = finalizeAll(signed)
      const tx = extractPsbtTx(finished)
      return {
        psbt: psbtToBase64(args.bool(4, true) ? finished : signed),
        complete: tx !== undefined,
        ...(tx !== undefined && args.bool(4, true) ? { hex: bytesToHex(encodeTx(tx)) } : {}),
      }
    },
  },
}
