/** Making and taking blocks: Bitcoin Core 28.1 rpc/mining.cpp. */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  blockHash,
  decodeAddress,
  decodeHeader,
  difficultyInterval,
  encodeBlock,
  HEADER_BYTES,
  isAddressProblem,
  isCoinbase,
  Txid,
  withReservedValue,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { ancestorAt, hasDust, isViolation, type HeaderEntry } from '@leyden/ledger'
import { GenerateError, type BlockOutcome, type LedgerEngine } from '../engine.ts'
import { parseTx, isHex, RPC, RpcError, type Arguments } from './call.ts'
import { chainName } from './chain-methods.ts'
import { readDescriptor, scriptOfDescriptor } from './descriptor.ts'
import { difficulty } from './json.ts'
import type { Json } from './json-text.ts'
import type { MethodContext, Methods } from './method.ts'
import { parseBlock, templateMethods } from './template-methods.ts'

/** The output script of an address of this network; `problem` is told when it is none. */
export const scriptOf = (engine: LedgerEngine, address: string, problem: string): Uint8Array => {
  const script = decodeAddress(address, engine.network)
  if (isAddressProblem(script)) throw new RpcError(RPC.invalidAddressOrKey, problem)
  return script
}

const NEITHER = 'Error: Invalid address or descriptor'

/** A descriptor, or an address. */
const outputScript = (engine: LedgerEngine, text: string): Uint8Array => {
  if (/[(#]/.test(text)) {
    try {
      return scriptOfDescriptor(text, engine.network)
    } catch (error) {
      // What reads as a descriptor says itself what it lacks.
      if (!(error instanceof RpcError) || isNoDescriptor(text, engine.network))
        throw new RpcError(RPC.invalidAddressOrKey, NEITHER)
      throw error
    }
  }
  return scriptOf(engine, text, NEITHER)
}

const isNoDescriptor = (text: string, network: Network): boolean => {
  try {
    readDescriptor(text, network)
    return false
  } catch {
    return true
  }
}

const generating = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work
  } catch (error) {
    if (!(error instanceof GenerateError)) throw error
    const { message } = error
    if (message.startsWith('ProcessNewBlock')) throw new RpcError(RPC.internal, message)
    throw new RpcError(message.startsWith('testBlockValidity') ? RPC.verify : RPC.misc, message)
  }
}

const listed = (engine: LedgerEngine, list: readonly unknown[]): Tx[] =>
  list.map((item) => {
    if (typeof item === 'string' && /^[0-9a-fA-F]{64}$/.test(item)) {
      const entry = engine.pool.entries.get(Txid(item.toLowerCase()))
      if (entry === undefined) throw new RpcError(RPC.invalidAddressOrKey, `Transaction ${item} not in mempool.`)
      return entry.tx
    }
    return parseTx(item, `Transaction decode failed for ${String(item).slice(0, 200)}. Make sure the tx has at least one input.`)
  })

const hashesPerSecond = (engine: LedgerEngine, blocks: number, height: number): number => {
  const tip = engine.tipEntry()
  if (blocks < -1 || blocks === 0) throw new RpcError(RPC.invalidParameter, 'Invalid nblocks. Must be a positive number or -1.')
  if (height < -1 || height > tip.height) throw new RpcError(RPC.invalidParameter, 'Block does not exist at specified height')
  const last = height >= 0 ? (ancestorAt(tip, height) as HeaderEntry) : tip
  if (last.height === 0) return 0
  const wanted = blocks === -1 ? (last.height % difficultyInterval(engine.network)) + 1 : blocks
  let first = last
  let earliest = last.header.time
  let latest = last.header.time
  for (let i = Math.min(wanted, last.height); i > 0; i--) {
    first = first.parent as HeaderEntry
    earliest = Math.min(earliest, first.header.time)
    latest = Math.max(latest, first.header.time)
  }
  if (earliest === latest) return 0
  return Number((Number(last.chainWork - first.chainWork) / (latest - earliest)).toPrecision(16))
}

const mine = ({ engine, stopping }: MethodContext, args: Arguments, count: number, script: Uint8Array): Promise<Json> =>
  generating(engine.generateToAddress(count, script, { maxTries: args.int(2, 1_000_000), signal: stopping }))

/** What became of a block, in the words of BIP 22. */
export const outcomeOf = (outcome: BlockOutcome): Json => {
  if (outcome.status === 'connected') return null
  if (outcome.status === 'rejected') return outcome.violation.reason
  return outcome.status === 'side' ? 'inconclusive' : 'duplicate'
}

export const miningMethods: Methods = {
  ...templateMethods,
  generatetoaddress: {
    params: ['nblocks', 'address', 'maxtries'],
    about: 'Mines blocks at once, the reward to an address.',
    run: (context, args) => mine(context, args, args.int(0), scriptOf(context.engine, args.string(1), 'Error: Invalid address')),
  },
  generatetodescriptor: {
    params: ['num_blocks', 'descriptor', 'maxtries'],
    about: 'Mines blocks at once, the reward to the output of a descriptor.',
    run: (context, args) => mine(context, args, args.int(0), scriptOfDescriptor(args.string(1), context.engine.network)),
  },
  generate: {
    params: [],
    about: 'has been replaced by the -generate cli option. Refer to -help for more information.',
    run: () => {
      throw new RpcError(
        RPC.methodNotFound,
        'generate\n\nhas been replaced by the -generate cli option. Refer to -help for more information.\n',
      )
    },
  },
  generateblock: {
    params: ['output', 'transactions', 'submit'],
    about: 'Mines one block of exactly these transactions (ids of the mempool, or raw), the reward to an address or descriptor.',
    async run({ engine }, args) {
      const script = outputScript(engine, args.string(0))
      const transactions = listed(engine, args.array(1))
      const submit = args.bool(2, true)
      const block = await generating(engine.generateBlock(script, transactions, submit))
      return { hash: blockHash(block.header), ...(submit ? {} : { hex: bytesToHex(encodeBlock(block)) }) }
    },
  },
  submitblock: {
    params: ['hexdata', 'dummy'],
    about: 'Takes a block; null when it is on the chain now, else a word for what became of it.',
    async run({ engine }, args) {
      const block = parseBlock(args.string(0))
      const [first] = block.transactions
      if (first === undefined || !isCoinbase(first))
        throw new RpcError(RPC.deserialization, 'Block does not start with a coinbase')
      const known = engine.tree.entries.get(blockHash(block.header))
      if (known !== undefined && known.failed !== 'none') return 'duplicate-invalid'
      const parent = engine.tree.entries.get(block.header.previousHash)
      const isSegwit = parent !== undefined && parent.height + 1 >= engine.network.segwitHeight
      const outcome = await engine.submitBlock(isSegwit ? withReservedValue(block) : block)
      return outcomeOf(outcome)
    },
  },
  submitheader: {
    params: ['hexdata'],
    about: 'Takes a header on one that is known; null when it may be.',
    run({ engine }, args) {
      const hex = args.string(0)
      // What follows the header is not looked at: a whole block will do.
      if (!isHex(hex) || hex.length < 2 * HEADER_BYTES) throw new RpcError(RPC.deserialization, 'Block header decode failed')
      const header = decodeHeader(hexToBytes(hex.slice(0, 2 * HEADER_BYTES).toLowerCase()))
      if (!engine.tree.entries.has(header.previousHash))
        throw new RpcError(RPC.verify, `Must submit previous header (${header.previousHash}) first`)
      const answer = engine.submitHeaders([header])
      if (isViolation(answer)) throw new RpcError(RPC.verify, answer.reason)
      return null
    },
  },
  getnetworkhashps: {
    params: ['nblocks', 'height'],
    about: 'Hashes per second that the last blocks took, by estimate.',
    run: ({ engine }, args) => hashesPerSecond(engine, args.int(0, 120), args.int(1, -1)),
  },
  getmininginfo: {
    params: [],
    about: 'State of mining.',
    run({ engine }) {
      const tip = engine.tipEntry()
      const last = engine.lastMade()
      return {
        blocks: tip.height,
        ...(last === undefined ? {} : { currentblockweight: last.weight, currentblocktx: last.count }),
        difficulty: difficulty(tip.header.bits),
        networkhashps: hashesPerSecond(engine, 120, -1),
        pooledtx: engine.pool.entries.size,
        chain: chainName(engine.network),
        warnings: [],
      }
    },
  },
  prioritisetransaction: {
    params: ['txid', 'dummy', 'fee_delta'],
    about: 'Adds to the fee of a transaction (satoshi; may be negative) in the eyes of miner and limits: nothing is paid.',
    async run({ engine }, args) {
      const id = args.txid(0)
      const dummy = args.has(1) ? args.number(1) : 0
      const change = BigInt(args.integer(2))
      if (dummy !== 0)
        throw new RpcError(
          RPC.invalidParameter,
          'Priority is no longer supported, dummy argument to prioritisetransaction must be 0.',
        )
      const { pool } = engine
      const tx = pool.entries.get(id)?.tx
      if (tx !== undefined && hasDust(tx, pool.policy.dustFeeratePerKvb))
        throw new RpcError(RPC.invalidParameter, 'Priority is not supported for transactions with dust outputs.')
      await engine.prioritise(id, change)
      return true
    },
  },
  getprioritisedtransactions: {
    params: [],
    about: 'What was added to the fees of which transactions.',
    run: ({ engine: { pool } }) =>
      Object.fromEntries(
        [...pool.deltas].map(([id, delta]) => {
          const entry = pool.entries.get(id)
          const modified = entry === undefined ? {} : { modified_fee: Number(entry.modifiedFee) }
          return [id, { fee_delta: Number(delta), in_mempool: entry !== undefined, ...modified }]
        }),
      ),
  },
}
