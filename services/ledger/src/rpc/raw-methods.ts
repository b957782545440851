/** Raw transactions and scripts: Bitcoin Core rpc/rawtransaction.cpp, rpc/rawtransaction_util.cpp. */
import { bytesToHex, equalBytes, hexToBytes } from '@leyden/codec'
import {
  buildScript,
  classifyScript,
  decodeAddress,
  decodeTx,
  decodeTxWithoutWitness,
  decodeWif,
  encodeAddress,
  encodeTx,
  forkIdAt,
  isAddressProblem,
  isOpSuccess,
  isUnspendable,
  MAX_MONEY,
  MAX_SCRIPT_ELEMENT_SIZE,
  OP,
  outpointKey,
  p2shOf,
  p2wpkh,
  p2wpkhOf,
  p2wshOf,
  parseScript,
  Sat,
  scriptErrorText,
  scriptToText,
  SIGHASH,
  sighashCache,
  STANDARD_SCRIPT_FLAGS,
  Txid,
  verifyInput,
  withForkId,
  withChecksum,
  type Tx,
  type TxInput,
  type TxOutput,
} from '@leyden/bitcoin'
import { pointFromSecret, pointUncompress } from '@leyden/crypto'
import type { LedgerEngine } from '../engine.ts'
import { kindOf, parseAmount, parseHash, parseHexBytes, parseTx, RPC, RpcError, type Arguments } from './call.ts'
import { describeScript } from './descriptor.ts'
import type { Json } from './json-text.ts'
import { scriptJson, txJson } from './json.ts'
import type { MethodContext, Methods } from './method.ts'
import { signInput, type SigningKey } from './sign.ts'

const invalid = (message: string): RpcError => new RpcError(RPC.invalidParameter, message)

const fieldsOf = (value: unknown): Readonly<Record<string, unknown>> => {
  if (kindOf(value) !== 'object')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} is not of expected type object`)
  return value as Record<string, unknown>
}

const stringField = (fields: Readonly<Record<string, unknown>>, name: string): string => {
  const value = fields[name]
  if (value === undefined || value === null) throw new RpcError(RPC.type, `Missing ${name}`)
  if (typeof value !== 'string')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} for field ${name} is not of expected type string`)
  return value
}

const SEQUENCE = { final: 0xffff_ffff, lockTime: 0xffff_fffe, replaceable: 0xffff_fffd }

const inputOf = (value: unknown, lockTime: number, replaceable: boolean): TxInput => {
  const fields = fieldsOf(value)
  const { txid: given, vout, sequence } = fields
  if (typeof given !== 'string')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(given)} is not of expected type string`)
  const id = Txid(parseHash(given, 'txid'))
  if (typeof vout !== 'number') throw invalid('Invalid parameter, missing vout key')
  if (!Number.isSafeInteger(vout) || vout > 0x7fff_ffff) throw new RpcError(RPC.misc, 'JSON integer out of range')
  if (vout < 0) throw invalid('Invalid parameter, vout cannot be negative')
  if (typeof sequence === 'number' && (!Number.isInteger(sequence) || sequence < 0 || sequence > SEQUENCE.final))
    throw invalid('Invalid parameter, sequence number is out of range')
  const usual = replaceable ? SEQUENCE.replaceable : lockTime === 0 ? SEQUENCE.final : SEQUENCE.lockTime
  return {
    outpoint: { txid: id, vout },
    scriptSig: new Uint8Array(0),
    sequence: typeof sequence === 'number' ? sequence : usual,
    witness: [],
  }
}

/** Pairs of an object, or of a list of objects with one pair each. */
const outputPairs = (value: unknown): (readonly [string, unknown])[] => {
  if (value === undefined || value === null) throw invalid('Invalid parameter, output argument must be non-null')
  if (kindOf(value) === 'object') return Object.entries(value as object)
  if (!Array.isArray(value)) throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} is not of expected type array`)
  return value.map((item: unknown) => {
    if (kindOf(item) !== 'object') throw invalid('Invalid parameter, key-value pair not an object as expected')
    const [pair, ...others] = Object.entries(item as object)
    if (pair === undefined || others.length > 0) throw invalid('Invalid parameter, key-value pair must contain exactly one key')
    return pair
  })
}

const outputsOf = ({ network }: LedgerEngine, value: unknown): TxOutput[] => {
  const seen = new Set<string>()
  return outputPairs(value).map(([name, content]) => {
    if (name === 'data') {
      if (seen.has(name)) throw invalid('Invalid parameter, duplicate key: data')
      seen.add(name)
      return { value: Sat(0n), scriptPubKey: buildScript(OP.OP_RETURN, parseHexBytes(content, 'Data')) }
    }
    const sat = parseAmount(content)
    const script = decodeAddress(name, network)
    if (isAddressProblem(script)) throw new RpcError(RPC.invalidAddressOrKey, `Invalid Bitcoin address: ${name.slice(0, 200)}`)
    if (seen.has(bytesToHex(script))) throw invalid(`Invalid parameter, duplicated address: ${name}`)
    seen.add(bytesToHex(script))
    return { value: Sat(sat), scriptPubKey: script }
  })
}

/** A transaction in either form: `witness` true or false asks for one of them. */
export const decodeAnyTx = (hex: string, witness: boolean | undefined): Tx => {
  const problem = new RpcError(RPC.deserialization, 'TX decode failed')
  if (!/^(?:[0-9a-fA-F]{2})+$/.test(hex)) throw problem
  const bytes = hexToBytes(hex.toLowerCase())
  for (const [wanted, decode] of [
    [true, decodeTx],
    [false, decodeTxWithoutWitness],
  ] as const) {
    if (witness !== undefined && witness !== wanted) continue
    try {
      return decode(bytes)
    } catch {
      // The other form may fit.
    }
  }
  throw problem
}

const canWrap = (script: Uint8Array): boolean => {
  const { type } = classifyScript(script)
  if (['op_return', 'p2sh', 'witness_unknown', 'p2tr', 'p2a'].includes(type) || isUnspendable(script)) return false
  try {
    return parseScript(script).every(
      ({ opcode, data }) =>
        opcode <= OP.OP_NOP10 &&
        (data?.length ?? 0) <= MAX_SCRIPT_ELEMENT_SIZE &&
        opcode !== OP.OP_CHECKSIGADD &&
        !isOpSuccess(opcode),
    )
  } catch {
    return false
  }
}

/** The version 0 program that pays to the script; undefined where there is none. */
const segwitFor = (script: Uint8Array): Uint8Array | undefined => {
  const form = classifyScript(script)
  if (form.type === 'p2wpkh' || form.type === 'p2wsh') return undefined
  if (form.type === 'p2pk') return form.point.length === 33 ? p2wpkhOf(form.point) : undefined
  if (form.type === 'p2pkh') return p2wpkh(form.hash)
  if (form.type === 'multisig' && form.points.some((point) => point.length !== 33)) return undefined
  return p2wshOf(script)
}

/** Outputs that inputs spend, from the mempool and the chain. */
const findSpent = async (engine: LedgerEngine, tx: Tx): Promise<Map<string, TxOutput>> => {
  const found = new Map<string, TxOutput>()
  for (const { outpoint } of tx.inputs) {
    const waiting = engine.pool.entries.get(outpoint.txid)?.tx.outputs[outpoint.vout]
    const output = waiting ?? (await engine.coin(outpoint))?.output
    if (output !== undefined) found.set(outpointKey(outpoint), output)
  }
  return found
}

type Given = { readonly outputs: Map<string, TxOutput>; readonly scripts: Uint8Array[]; readonly withoutAmount: Set<string> }

/** The caller's word on outputs that are spent. */
const readPrevtxs = (args: Arguments, at: number, known: ReadonlyMap<string, TxOutput>): Given => {
  const given: Given = { outputs: new Map(known), scripts: [], withoutAmount: new Set() }
  for (const value of args.has(at) ? args.array(at) : []) {
    if (kindOf(value) !== 'object')
      throw new RpcError(RPC.deserialization, 'expected object with {"txid\'","vout","scriptPubKey"}')
    const fields = fieldsOf(value)
    const id = Txid(parseHash(stringField(fields, 'txid'), 'txid'))
    const { vout, amount, redeemScript, witnessScript } = fields
    if (typeof vout !== 'number' || !Number.isSafeInteger(vout)) throw new RpcError(RPC.type, 'Missing vout')
    if (vout < 0) throw new RpcError(RPC.deserialization, 'vout cannot be negative')
    const scriptPubKey = parseHexBytes(stringField(fields, 'scriptPubKey'), 'scriptPubKey')
    const key = outpointKey({ txid: id, vout })
    const held = given.outputs.get(key)
    if (held !== undefined && !equalBytes(held.scriptPubKey, scriptPubKey))
      throw new RpcError(
        RPC.deserialization,
        `Previous output scriptPubKey mismatch:\n${scriptToText(held.scriptPubKey)}\nvs:\n${scriptToText(scriptPubKey)}`,
      )
    if (amount === undefined) given.withoutAmount.add(key)
    given.outputs.set(key, { value: Sat(amount === undefined ? MAX_MONEY : parseAmount(amount)), scriptPubKey })
    const { type } = classifyScript(scriptPubKey)
    if (type !== 'p2sh' && type !== 'p2wsh') continue
    const redeem = redeemScript === undefined ? undefined : parseHexBytes(redeemScript, 'redeemScript')
    const witness = witnessScript === undefined ? undefined : parseHexBytes(witnessScript, 'witnessScript')
    const script = witness ?? redeem
    if (script === undefined) throw invalid('Missing redeemScript/witnessScript')
    const wrapped = p2wshOf(script)
    if (witness !== undefined && redeem !== undefined && !equalBytes(witness, redeem) && !equalBytes(redeem, wrapped))
      throw invalid('redeemScript does not correspond to witnessScript')
    const fits = type === 'p2wsh' ? [wrapped] : [p2shOf(script), p2shOf(wrapped)]
    if (!fits.some((one) => equalBytes(one, scriptPubKey)))
      throw invalid('redeemScript/witnessScript does not match scriptPubKey')
    given.scripts.push(script)
  }
  return given
}

const SIGHASH_TYPES: ReadonlyMap<string, number> = new Map([
  ['DEFAULT', 0x00],
  ['ALL', 0x01],
  ['ALL|ANYONECANPAY', 0x81],
  ['NONE', 0x02],
  ['NONE|ANYONECANPAY', 0x82],
  ['SINGLE', 0x03],
  ['SINGLE|ANYONECANPAY', 0x83],
])

export const readKey = ({ network }: LedgerEngine, value: unknown): SigningKey & { readonly compressed: boolean } => {
  const decoded = typeof value === 'string' ? decodeWif(value, network) : undefined
  if (decoded === undefined || 'problem' in decoded) throw new RpcError(RPC.invalidAddressOrKey, 'Invalid private key')
  const { secret, compressed } = decoded
  const point = pointFromSecret(secret)
  return { secret, compressed, point: compressed ? point : pointUncompress(point) }
}

const UNKNOWN_OUTPUT: TxOutput = { value: Sat(0n), scriptPubKey: new Uint8Array(0) }

/** Why an input is not finished, in Bitcoin Core's words. */
const inputProblem = (tx: Tx, inputIndex: number, prevouts: readonly TxOutput[], forkId: number): string | undefined => {
  const flags = withForkId(STANDARD_SCRIPT_FLAGS, forkId)
  const failed = verifyInput({ tx, inputIndex, prevouts, flags, cache: sighashCache(tx) })
  if (failed === undefined) return undefined
  if (failed === 'INVALID_STACK_OPERATION') return 'Unable to sign input, invalid stack size (possibly missing key)'
  if (failed === 'NULLFAIL') return 'CHECK(MULTI)SIG failing with non-zero signature (possibly need more signatures)'
  return scriptErrorText(failed)
}

/** The fork that signatures in the next block commit to; 0 for none. */
export const nextForkId = (engine: LedgerEngine): number => forkIdAt(engine.network, engine.tip().height + 1)

const sign = (tx: Tx, keys: readonly SigningKey[], given: Given, sighashType: number, forkId: number): Json => {
  const spent = tx.inputs.map(({ outpoint }) => given.outputs.get(outpointKey(outpoint)))
  const prevouts = spent.map((output) => output ?? UNKNOWN_OUTPUT)
  const allKnown = spent.every((output) => output !== undefined)
  const inputs = tx.inputs.map((input, i) => {
    const output = spent[i]
    if (output === undefined || (classifyScript(output.scriptPubKey).type === 'p2tr' && !allKnown)) return input
    return signInput(tx, i, prevouts, { keys, scripts: given.scripts, copies: [], sighashType, forkId })
  })
  const signed: Tx = { ...tx, inputs }
  const errors = inputs.flatMap((input, i): Json[] => {
    const output = spent[i]
    if (output !== undefined && input.witness.length > 0 && given.withoutAmount.has(outpointKey(input.outpoint)))
      throw new RpcError(
        RPC.type,
        `Missing amount for CTxOut(nValue=21000000.00000000, scriptPubKey=${bytesToHex(output.scriptPubKey).slice(0, 30)})`,
      )
    const error = output === undefined ? 'Input not found or already spent' : inputProblem(signed, i, prevouts, forkId)
    if (error === undefined) return []
    return [
      {
        txid: input.outpoint.txid,
        vout: input.outpoint.vout,
        witness: input.witness.map((item) => bytesToHex(item)),
        scriptSig: bytesToHex(input.scriptSig),
        sequence: input.sequence,
        error,
      },
    ]
  })
  return { hex: bytesToHex(encodeTx(signed)), complete: errors.length === 0, ...(errors.length === 0 ? {} : { errors }) }
}

/** The transaction of the arguments of createrawtransaction and createpsbt. */
export const unsignedTx = ({ engine, duplicate }: MethodContext, args: Arguments): Tx => {
  const twice = duplicate(1, 'outputs')
  if (twice !== undefined)
    throw invalid(twice === 'data' ? 'Invalid parameter, duplicate key: data' : `Invalid parameter, duplicated address: ${twice}`)
  const lockTime = args.has(2) ? Number(args.raw(2)) : 0
  if (args.has(2) && typeof args.raw(2) !== 'number') args.int(2)
  if (!Number.isInteger(lockTime) || lockTime < 0 || lockTime > 0xffff_ffff)
    throw invalid('Invalid parameter, locktime out of range')
  const replaceable = args.has(3) ? args.bool(3) : undefined
  const inputs = args.has(0) ? args.array(0).map((one) => inputOf(one, lockTime, replaceable ?? true)) : []
  const outputs = outputsOf(engine, args.raw(1))
  if (replaceable === true && inputs.length > 0 && inputs.every(({ sequence }) => sequence > SEQUENCE.replaceable))
    throw invalid('Invalid parameter combination: Sequence number(s) contradict replaceable option')
  return { version: 2, inputs, outputs, lockTime }
}

/** The type of an argument by its name; undefined when it is left out. */
export const readSighashType = (args: Arguments, at: number): number | undefined => {
  if (!args.has(at)) return undefined
  const name = args.string(at)
  const type = SIGHASH_TYPES.get(name)
  if (type === undefined) throw invalid(`'${name.slice(0, 100)}' is not a valid sighash parameter.`)
  return type
}

export const rawMethods: Methods = {
  createrawtransaction: {
    params: ['inputs', 'outputs', 'locktime', 'replaceable'],
    about: 'An unsigned transaction in hex.',
    run: (context, args) => bytesToHex(encodeTx(unsignedTx(context, args))),
  },
  decoderawtransaction: {
    params: ['hexstring', 'iswitness'],
    about: 'A transaction in hex as JSON.',
    run({ engine }, args) {
      const tx = decodeAnyTx(args.string(0), args.has(1) ? args.bool(1) : undefined)
      const { hex: _hex, ...fields } = txJson(tx, engine.network)
      return fields
    },
  },
  decodescript: {
    params: ['hexstring'],
    about: 'What a script is, and the addresses that pay to it.',
    run({ engine: { network } }, args) {
      const script = parseHexBytes(args.string(0), 'argument')
      const { hex: _hex, ...shown } = scriptJson(script, network)
      if (!canWrap(script)) return shown
      const segwit = segwitFor(script)
      const addressOf = (one: Uint8Array): string => encodeAddress(p2shOf(one), network) as string
      const inner = classifyScript(script).type
      const wrapped = segwit === undefined ? undefined : scriptJson(segwit, network)
      // A multisig inside is known from its script; other scripts are named by their address.
      const desc = inner === 'multisig' ? { desc: withChecksum(`wsh(${describeScript(script, network)})`) } : {}
      return {
        ...shown,
        p2sh: addressOf(script),
        ...(wrapped === undefined || segwit === undefined
          ? {}
          : { segwit: { ...wrapped, ...desc, 'p2sh-segwit': addressOf(segwit) } }),
      }
    },
  },
  combinerawtransaction: {
    params: ['txs'],
    about: 'One transaction with the signatures of several copies of it.',
    async run({ engine }, args) {
      const copies = args
        .array(0)
        .map((hex, i) => parseTx(hex, `TX decode failed for tx ${i}. Make sure the tx has at least one input.`))
      const [first] = copies
      if (first === undefined) throw new RpcError(RPC.deserialization, 'Missing transactions')
      const known = await findSpent(engine, first)
      const spent = first.inputs.map(({ outpoint }) => {
        const output = known.get(outpointKey(outpoint))
        if (output === undefined) throw new RpcError(RPC.verify, 'Input not found or already spent')
        return output
      })
      const options = { keys: [], scripts: [], copies, sighashType: 1, forkId: nextForkId(engine) }
      return bytesToHex(encodeTx({ ...first, inputs: first.inputs.map((_, i) => signInput(first, i, spent, options)) }))
    },
  },
  signrawtransactionwithkey: {
    params: ['hexstring', 'privkeys', 'prevtxs', 'sighashtype'],
    about: 'Signs what these private keys can sign.',
    async run({ engine }, args) {
      const tx = parseTx(args.string(0))
      const keys = args.array(1).map((value) => readKey(engine, value))
      const given = readPrevtxs(args, 2, await findSpent(engine, tx))
      const type = readSighashType(args, 3) ?? SIGHASH.default
      return sign(tx, keys, given, type, nextForkId(engine))
    },
  },
}
