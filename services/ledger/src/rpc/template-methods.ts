/** getblocktemplate: BIP 22 (templates), BIP 23 (proposals, long polling), BIP 9, BIP 145; Bitcoin Core 28.1 rpc/mining.cpp. */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import {
  blockHash,
  buildScript,
  decodeBlock,
  encodeTx,
  MAX_BLOCK_SIGOPS_COST,
  MAX_BLOCK_WEIGHT,
  OP,
  targetFromBits,
  txid,
  txWeight,
  wtxid,
  type Block,
  type Network,
} from '@leyden/bitcoin'
import { blockTime, medianTimePast } from '@leyden/ledger'
import type { BlockTemplate, LedgerEngine } from '../engine.ts'
import { kindOf, parseHash, isHex, RPC, RpcError } from './call.ts'
import type { Json } from './json-text.ts'
import type { MethodContext, Methods } from './method.ts'

/** Bytes of a block as sent, at most. Bitcoin Core consensus/consensus.h. */
const MAX_BLOCK_BYTES = 4_000_000
/** A template is made again when the mempool has changed and it is older than this. */
const TEMPLATE_SECONDS = 5
/** Who waits for a better template learns of new transactions after a minute, and then every ten seconds. */
const FIRST_LOOK_MS = 60_000
const NEXT_LOOK_MS = 10_000

type Made = BlockTemplate & { readonly updates: number; readonly madeAt: number }
const made = new WeakMap<LedgerEngine, Made>()

/** A block in hex. Throws RpcError. */
export const parseBlock = (hex: string): Block => {
  if (hex !== '' && isHex(hex))
    try {
      return decodeBlock(hexToBytes(hex.toLowerCase()))
    } catch {
      // Not a block: told below.
    }
  throw new RpcError(RPC.deserialization, 'Block decode failed')
}

const propose = async (engine: LedgerEngine, data: unknown): Promise<Json> => {
  if (typeof data !== 'string') throw new RpcError(RPC.type, 'Missing data String key for proposal')
  const block = parseBlock(data)
  const known = engine.tree.entries.get(blockHash(block.header))
  if (known !== undefined) {
    if (known.failed !== 'none') return 'duplicate-invalid'
    return engine.isActive(known) ? 'duplicate' : 'duplicate-inconclusive'
  }
  return (await engine.testBlock(block))?.reason ?? null
}

/** Resolves when the tip is another than `hash`, or after a while when the mempool has changed since `updates`. */
const waitForBetter = ({ engine }: MethodContext, hash: string, updates: number): Promise<void> =>
  new Promise((resolve) => {
    if (engine.tip().hash !== hash) return resolve()
    let timer: NodeJS.Timeout
    const end = (): void => {
      clearTimeout(timer)
      unsubscribe()
      resolve()
    }
    const look = (): void => {
      if (engine.pool.updates !== updates) return end()
      timer = setTimeout(look, NEXT_LOOK_MS)
      timer.unref()
    }
    timer = setTimeout(look, FIRST_LOOK_MS)
    timer.unref()
    const unsubscribe = engine.subscribe(({ type }) => {
      if (type === 'tipChanged' && engine.tip().hash !== hash) end()
    })
  })

const poll = async (context: MethodContext, id: unknown): Promise<void> => {
  const { engine } = context
  if (id === undefined || id === null) return
  if (typeof id !== 'string') return waitForBetter(context, engine.tip().hash, made.get(engine)?.updates ?? 0)
  await waitForBetter(context, parseHash(id.slice(0, 64), 'longpollid'), Number.parseInt(id.slice(64), 10) || 0)
}

const currentTemplate = async (engine: LedgerEngine, now: number): Promise<Made> => {
  const last = made.get(engine)
  const { updates } = engine.pool
  if (last?.parent === engine.tipEntry() && (last.updates === updates || now - last.madeAt <= TEMPLATE_SECONDS)) return last
  const fresh = { ...(await engine.template(buildScript(OP.OP_TRUE))), updates, madeAt: now }
  made.set(engine, fresh)
  return fresh
}

const transactionsJson = ({ block, fees, sigopCosts }: BlockTemplate, sigopScale: number): Json => {
  const places = new Map(block.transactions.map((tx, i) => [txid(tx), i]))
  return block.transactions.slice(1).map((tx, i) => ({
    data: bytesToHex(encodeTx(tx)),
    txid: txid(tx),
    hash: wtxid(tx),
    depends: tx.inputs.flatMap(({ outpoint }) => {
      const place = places.get(outpoint.txid)
      return place === undefined || place > i ? [] : [place]
    }),
    fee: Number(fees[i]),
    sigops: (sigopCosts[i] as number) / sigopScale,
    weight: txWeight(tx),
  }))
}

const templateJson = (network: Network, template: Made, now: number): Json => {
  const { block, parent, updates } = template
  const { header, transactions } = block
  const height = parent.height + 1
  const hasSegwit = height >= network.segwitHeight
  const sigopScale = hasSegwit ? 1 : 4
  const outputs = transactions[0]?.outputs ?? []
  const commitment = outputs[1]
  const { signetChallenge } = network
  return {
    capabilities: ['proposal'],
    version: header.version,
    rules: ['csv', ...(hasSegwit ? ['!segwit'] : []), ...(signetChallenge === undefined ? [] : ['!signet']), 'taproot'],
    vbavailable: {},
    vbrequired: 0,
    previousblockhash: header.previousHash,
    transactions: transactionsJson(template, sigopScale),
    coinbaseaux: {},
    coinbasevalue: Number(outputs[0]?.value ?? 0n),
    longpollid: `${parent.hash}${updates}`,
    target: (targetFromBits(header.bits) ?? 0n).toString(16).padStart(64, '0'),
    mintime: medianTimePast(parent) + 1,
    mutable: ['time', 'transactions', 'prevblock'],
    noncerange: '00000000ffffffff',
    sigoplimit: MAX_BLOCK_SIGOPS_COST / sigopScale,
    sizelimit: MAX_BLOCK_BYTES / sigopScale,
    ...(hasSegwit ? { weightlimit: MAX_BLOCK_WEIGHT } : {}),
    curtime: blockTime(network, parent, now),
    bits: (header.bits >>> 0).toString(16).padStart(8, '0'),
    height,
    ...(signetChallenge === undefined ? {} : { signet_challenge: bytesToHex(signetChallenge) }),
    ...(commitment === undefined ? {} : { default_witness_commitment: bytesToHex(commitment.scriptPubKey) }),
  }
}

export const templateMethods: Methods = {
  getblocktemplate: {
    params: ['template_request'],
    about: 'What a miner needs for the next block, or (mode "proposal") whether a block of theirs would be taken.',
    async run(context, args) {
      const { engine, now, peers } = context
      const { network } = engine
      const { mode = 'template', data, longpollid, rules } = args.object(0)
      if (mode !== null && typeof mode !== 'string') throw new RpcError(RPC.invalidParameter, 'Invalid mode')
      if (mode === 'proposal') return propose(engine, data)
      if (mode !== null && mode !== 'template') throw new RpcError(RPC.invalidParameter, 'Invalid mode')
      const understood = new Set<unknown>(Array.isArray(rules) ? rules : [])
      for (const rule of understood)
        if (typeof rule !== 'string')
          throw new RpcError(RPC.type, `JSON value of type ${kindOf(rule)} is not of expected type string`)
      if (network.name === 'mainnet' && peers.peers().length === 0)
        throw new RpcError(RPC.notConnected, 'Leyden is not connected!')
      await poll(context, longpollid)
      if (network.signetChallenge !== undefined && !understood.has('signet'))
        throw new RpcError(
          RPC.invalidParameter,
          'getblocktemplate must be called with the signet rule set (call with {"rules": ["segwit", "signet"]})',
        )
      if (!understood.has('segwit'))
        throw new RpcError(
          RPC.invalidParameter,
          'getblocktemplate must be called with the segwit rule set (call with {"rules": ["segwit"]})',
        )
      const seconds = Math.floor(now() / 1000)
      return templateJson(network, await currentTemplate(engine, seconds), seconds)
    },
  },
}
