/** Making and taking blocks: Bitcoin Core rpc/mining.cpp. */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  blockHash,
  decodeAddress,
  decodeBlock,
  decodeHeader,
  encodeBlock,
  encodeTx,
  HEADER_BYTES,
  isAddressProblem,
  isCoinbase,
  MAX_BLOCK_SIGOPS_COST,
  MAX_BLOCK_WEIGHT,
  targetFromBits,
  Txid,
  txid,
  txWeight,
  withReservedValue,
  wtxid,
  type Block,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { isViolation, medianTimePast, type HeaderEntry } from '@leyden/ledger'
import { GenerateError, type LedgerEngine } from '../engine.ts'
import { parseTx, RPC, RpcError, type Arguments } from './call.ts'
import { readDescriptor, scriptOfDescriptor } from './descriptor.ts'
import type { Methods } from './method.ts'

const HEX = /^([0-9a-fA-F]{2})+$/

const scriptOf = (engine: LedgerEngine, address: string, problem: string): Uint8Array => {
  const script = decodeAddress(address, engine.network)
  if (isAddressProblem(script)) throw new RpcError(RPC.invalidAddressOrKey, problem)
  return script
}

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

const REPLACED = 'has been replaced by the -generate cli option. Refer to -help for more information.'
const NEITHER = 'Error: Invalid address or descriptor'

const isNoDescriptor = (text: string, network: Network): boolean => {
  try {
    readDescriptor(text, network)
    return false
  } catch {
    return true
  }
}

const MAX_BLOCKS_PER_CALL = 100_000

const checkCount = (count: number): void => {
  if (count < 0 || count > MAX_BLOCKS_PER_CALL)
    throw new RpcError(RPC.invalidParameter, `nblocks must be between 0 and ${MAX_BLOCKS_PER_CALL}`)
}

const generating = async <T>(work: Promise<T>): Promise<T> => {
  try {
    return await work
  } catch (error) {
    if (error instanceof GenerateError) throw new RpcError(RPC.verify, error.message)
    throw error
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

const parseBlock = (args: Arguments): Block => {
  const hex = args.string(0)
  if (HEX.test(hex))
    try {
      return decodeBlock(hexToBytes(hex))
    } catch {
      // Not a block: told below.
    }
  throw new RpcError(RPC.deserialization, 'Block decode failed')
}

const VB_SIZE_LIMIT = 4_000_000

export const miningMethods: Methods = {
  generatetoaddress: {
    params: ['nblocks', 'address', 'maxtries'],
    about: 'Mines blocks at once, the reward to an address.',
    run({ engine }, args) {
      const count = args.int(0)
      const script = scriptOf(engine, args.string(1), 'Error: Invalid address')
      const tries = args.int(2, 1_000_000)
      checkCount(count)
      return generating(engine.generateToAddress(count, script, tries))
    },
  },
  generatetodescriptor: {
    params: ['num_blocks', 'descriptor', 'maxtries'],
    about: 'Mines blocks at once, the reward to the script of a descriptor.',
    run({ engine }, args) {
      const count = args.int(0)
      const script = scriptOfDescriptor(args.string(1), engine.network)
      const tries = args.int(2, 1_000_000)
      checkCount(count)
      return generating(engine.generateToAddress(count, script, tries))
    },
  },
  generate: {
    params: [],
    about: REPLACED,
    run() {
      throw new RpcError(RPC.methodNotFound, `generate\n\n${REPLACED}\n`)
    },
  },
  generateblock: {
    params: ['output', 'transactions', 'submit'],
    about:
      'Mines one block of exactly these transactions (ids of the mempool, or raw), the reward to an address or a descriptor.',
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
      const block = parseBlock(args)
      const [first] = block.transactions
      if (first === undefined || !isCoinbase(first))
        throw new RpcError(RPC.deserialization, 'Block does not start with a coinbase')
      const parent = engine.tree.entries.get(block.header.previousHash)
      const isSegwit = parent !== undefined && parent.height + 1 >= engine.network.segwitHeight
      const outcome = await engine.submitBlock(isSegwit ? withReservedValue(block) : block)
      if (outcome.status === 'connected') return null
      if (outcome.status === 'rejected') return outcome.violation.reason
      return outcome.status === 'side' ? 'inconclusive' : 'duplicate'
    },
  },
  submitheader: {
    params: ['hexdata'],
    about: 'Takes a header on one that is known; null when it may be.',
    run({ engine }, args) {
      const hex = args.string(0)
      if (!HEX.test(hex) || hex.length !== 2 * HEADER_BYTES) throw new RpcError(RPC.deserialization, 'Block header decode failed')
      const header = decodeHeader(hexToBytes(hex.toLowerCase()))
      if (!engine.tree.entries.has(header.previousHash))
        throw new RpcError(RPC.verify, `Must submit previous header (${header.previousHash}) first`)
      const answer = engine.submitHeaders([header])
      if (isViolation(answer)) throw new RpcError(RPC.verify, answer.reason)
      return null
    },
  },
  getblocktemplate: {
    params: ['template_request'],
    about: 'What a miner needs for the next block (BIP 22, BIP 23, BIP 145).',
    async run({ engine }, args) {
      const { mode, rules } = args.object(0)
      if (mode !== undefined && mode !== 'template') throw new RpcError(RPC.invalidParameter, 'Invalid mode')
      if (!Array.isArray(rules) || !rules.includes('segwit'))
        throw new RpcError(
          RPC.invalidParameter,
          'getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})',
        )
      const block = await engine.template(new Uint8Array(0))
      const { header, transactions } = block
      const parent = engine.tree.entries.get(header.previousHash) as HeaderEntry
      const coinbase = transactions[0] as Tx
      const rest = transactions.slice(1)
      const places = new Map(rest.map((tx, i) => [txid(tx), i + 1]))
      const commitment = coinbase.outputs[1]
      return {
        capabilities: ['proposal'],
        version: header.version,
        rules: ['csv', '!segwit', 'taproot'],
        vbavailable: {},
        vbrequired: 0,
        previousblockhash: header.previousHash,
        transactions: rest.map((tx) => {
          const entry = engine.pool.entries.get(txid(tx))
          const depends = tx.inputs.map(({ outpoint }) => places.get(outpoint.txid)).filter((place) => place !== undefined)
          return {
            data: bytesToHex(encodeTx(tx)),
            txid: txid(tx),
            hash: wtxid(tx),
            depends: [...new Set(depends)],
            fee: Number(entry?.fee ?? 0n),
            sigops: entry?.sigopCost ?? 0,
            weight: txWeight(tx),
          }
        }),
        coinbaseaux: {},
        coinbasevalue: Number(coinbase.outputs[0]?.value ?? 0n),
        longpollid: `${header.previousHash}${engine.pool.entries.size}`,
        target: (targetFromBits(header.bits) ?? 0n).toString(16).padStart(64, '0'),
        mintime: medianTimePast(parent) + 1,
        mutable: ['time', 'transactions', 'prevblock'],
        noncerange: '00000000ffffffff',
        sigoplimit: MAX_BLOCK_SIGOPS_COST,
        sizelimit: VB_SIZE_LIMIT,
        weightlimit: MAX_BLOCK_WEIGHT,
        curtime: header.time,
        bits: header.bits.toString(16).padStart(8, '0'),
        height: parent.height + 1,
        ...(commitment === undefined ? {} : { default_witness_commitment: bytesToHex(commitment.scriptPubKey) }),
      }
    },
  },
}
