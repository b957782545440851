/**
 * A regtest chain with transactions of every output type, for the benchmarks: the same bytes from the same numbers.
 * One block of a wide transaction, then blocks in which every transaction spends two outputs of the block before and makes two, the
 * types taken in turn. Made once, kept under .cache.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, writeFileSync } from 'node:fs'
import {
  buildScript,
  controlBlock,
  encodeBlock,
  multisigScript,
  networks,
  OP,
  p2pkhOf,
  p2shOf,
  p2tr,
  p2wpkhOf,
  p2wshOf,
  pushBytes,
  Sat,
  SIGHASH,
  sighashCache,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  tapLeafHash,
  txid,
  type Block,
  type SighashCache,
  type Tx,
  type TxInput,
  type TxOutput,
} from '@leyden/bitcoin'
import { concat } from '@leyden/codec'
import {
  derFromCompact,
  ecdsaSignLowR,
  pointFromSecret,
  schnorrSign,
  sha256,
  taprootTweakPoint,
  taprootTweakSecret,
  xOnlyFromPoint,
} from '@leyden/crypto'
import { addHeader, buildBlock, createHeaderTree, findNonce, isViolation, placeHeader } from '@leyden/ledger'

/** Curve operations that a script check of the type asks for. */
export type CurveWork = { readonly ecdsa: number; readonly schnorr: number; readonly tweak: number }

type Signing = {
  readonly tx: Tx
  readonly inputIndex: number
  readonly spent: readonly TxOutput[]
  readonly cache: SighashCache
}

/** One way to lock an output, and to spend it. */
type OutputType = {
  readonly name: string
  readonly scriptPubKey: Uint8Array
  readonly work: CurveWork
  readonly sign: (signing: Signing) => { readonly scriptSig?: Uint8Array; readonly witness?: readonly Uint8Array[] }
}

const secretOf = (owner: number, n: number): Uint8Array => sha256(Uint8Array.of(0x6c, owner, owner >>> 8, n))
const AUX = new Uint8Array(32)
const NOTHING = new Uint8Array(0)

const ecdsa = (hash: Uint8Array, secret: Uint8Array): Uint8Array =>
  concat(derFromCompact(ecdsaSignLowR(hash, secret)), Uint8Array.of(SIGHASH.all))
const legacy = ({ tx, inputIndex }: Signing, code: Uint8Array, secret: Uint8Array): Uint8Array =>
  ecdsa(sighashLegacy(tx, inputIndex, code, SIGHASH.all), secret)
const version0 = ({ tx, inputIndex, spent, cache }: Signing, code: Uint8Array, secret: Uint8Array): Uint8Array =>
  ecdsa(sighashV0(tx, inputIndex, code, (spent[inputIndex] as TxOutput).value, SIGHASH.all, cache), secret)

/** The types in the order in which outputs take them, with the keys of one owner. */
export const outputTypes = (owner = 0): readonly OutputType[] => {
  const secrets = [1, 2, 3].map((n) => secretOf(owner, n))
  const points = secrets.map(pointFromSecret)
  const secret = secrets[0] as Uint8Array
  const point = points[0] as Uint8Array
  const xOnly = xOnlyFromPoint(point)
  const twoOfThree = multisigScript(2, points)
  const codeOfKey = p2pkhOf(point)
  const keyProgram = p2wpkhOf(point)
  const keyPath = taprootTweakPoint(xOnly)
  const keySecret = taprootTweakSecret(secret)
  const leaf = buildScript(xOnly, OP.OP_CHECKSIG)
  const leafHash = tapLeafHash(leaf)
  const scriptPath = taprootTweakPoint(xOnly, leafHash)
  const two = (sign: (secret: Uint8Array) => Uint8Array): Uint8Array[] => secrets.slice(1).map(sign)
  const one = { ecdsa: 1, schnorr: 0, tweak: 0 }
  return [
    {
      name: 'p2pk',
      scriptPubKey: buildScript(point, OP.OP_CHECKSIG),
      work: one,
      sign: (s) => ({ scriptSig: pushBytes(legacy(s, buildScript(point, OP.OP_CHECKSIG), secret)) }),
    },
    {
      name: 'p2pkh',
      scriptPubKey: codeOfKey,
      work: one,
      sign: (s) => ({ scriptSig: buildScript(legacy(s, codeOfKey, secret), point) }),
    },
    {
      name: 'p2sh 2-of-3',
      scriptPubKey: p2shOf(twoOfThree),
      work: { ...one, ecdsa: 2 },
      sign: (s) => ({ scriptSig: buildScript(OP.OP_0, ...two((key) => legacy(s, twoOfThree, key)), twoOfThree) }),
    },
    {
      name: 'p2sh-p2wpkh',
      scriptPubKey: p2shOf(keyProgram),
      work: one,
      sign: (s) => ({ scriptSig: pushBytes(keyProgram), witness: [version0(s, codeOfKey, secret), point] }),
    },
    {
      name: 'p2wpkh',
      scriptPubKey: keyProgram,
      work: one,
      sign: (s) => ({ witness: [version0(s, codeOfKey, secret), point] }),
    },
    {
      name: 'p2wsh 2-of-3',
      scriptPubKey: p2wshOf(twoOfThree),
      work: { ...one, ecdsa: 2 },
      sign: (s) => ({ witness: [NOTHING, ...two((key) => version0(s, twoOfThree, key)), twoOfThree] }),
    },
    {
      name: 'p2tr key path',
      scriptPubKey: p2tr(keyPath.xonly),
      work: { ecdsa: 0, schnorr: 1, tweak: 0 },
      sign: ({ tx, inputIndex, spent, cache }) => ({
        witness: [schnorrSign(sighashTaproot(tx, inputIndex, spent, SIGHASH.default, { cache }), keySecret, AUX)],
      }),
    },
    {
      name: 'p2tr script path',
      scriptPubKey: p2tr(scriptPath.xonly),
      work: { ecdsa: 0, schnorr: 1, tweak: 1 },
      sign: ({ tx, inputIndex, spent, cache }) => ({
        witness: [
          schnorrSign(sighashTaproot(tx, inputIndex, spent, SIGHASH.default, { cache, leafHash }), secret, AUX),
          leaf,
          controlBlock(xOnly, scriptPath.parity, []),
        ],
      }),
    },
  ]
}

type Coin = {
  readonly txid: ReturnType<typeof txid>
  readonly vout: number
  readonly output: TxOutput
  readonly type: OutputType
}

type Spent = { readonly tx: Tx; readonly coins: Coin[]; readonly fee: bigint }

/** A transaction from these coins to so many outputs of the types in turn. */
const spend = (coins: readonly Coin[], outputs: number, fee: bigint, nextType: () => OutputType): Spent => {
  const sum = coins.reduce((n, { output }) => n + output.value, 0n)
  const types = Array.from({ length: outputs }, nextType)
  const value = (sum - fee) / BigInt(outputs)
  const unsigned: Tx = {
    version: 2,
    inputs: coins.map(({ txid, vout }) => ({
      outpoint: { txid, vout },
      scriptSig: NOTHING,
      sequence: 0xffff_fffd,
      witness: [],
    })),
    outputs: types.map(({ scriptPubKey }) => ({ value: Sat(value), scriptPubKey })),
    lockTime: 0,
  }
  const spent = coins.map(({ output }) => output)
  const cache = sighashCache(unsigned)
  const inputs = unsigned.inputs.map((input, inputIndex): TxInput => {
    const signed = (coins[inputIndex] as Coin).type.sign({ tx: unsigned, inputIndex, spent, cache })
    return { ...input, scriptSig: signed.scriptSig ?? NOTHING, witness: signed.witness ?? [] }
  })
  const tx = { ...unsigned, inputs }
  const id = txid(tx)
  return {
    tx,
    coins: types.map((type, vout) => ({ txid: id, vout, output: tx.outputs[vout] as TxOutput, type })),
    fee: sum - value * BigInt(outputs),
  }
}

export const TRANSACTIONS_IN_BLOCK = 2000
/** Blocks before the first that has transactions of two inputs. */
export const FIRST_HEIGHT = 102
const FEE = 1000n
/** So many different keys and scripts of each type. */
const OWNERS = 500

/** So many blocks of transactions on top of what is needed for them, from height 1 on. */
const makeChain = (fullBlocks: number): Block[] => {
  const network = networks.regtest
  const tree = createHeaderTree(network, network.genesis.header)
  let tip = tree.genesis
  const types = Array.from({ length: OWNERS }, (_, owner) => outputTypes(owner)).flat()
  let turn = 0
  const nextType = (): OutputType => types[turn++ % types.length] as OutputType
  const blocks: Block[] = []
  const add = (transactions: readonly Tx[], fees: bigint): Block => {
    const plan = { network, parent: tip, now: tip.header.time + 600, transactions, fees, extraNonce: blocks.length }
    const block = findNonce(buildBlock({ ...plan, scriptPubKey: (types[4] as OutputType).scriptPubKey })) as Block
    const entry = placeHeader(tree, block.header, block.header.time)
    if (isViolation(entry)) throw new Error(entry.reason)
    addHeader(tree, entry)
    tip = entry
    blocks.push(block)
    return block
  }
  const first = add([], 0n).transactions[0] as Tx
  while (tip.height < FIRST_HEIGHT - 2) add([], 0n)
  const source = { txid: txid(first), vout: 0, output: first.outputs[0] as TxOutput, type: types[4] as OutputType }
  const wide = spend([source], 2 * TRANSACTIONS_IN_BLOCK, FEE * 200n, nextType)
  add([wide.tx], wide.fee)
  let { coins } = wide
  for (let i = 0; i < fullBlocks; i++) {
    const made = Array.from({ length: TRANSACTIONS_IN_BLOCK }, (_, n) =>
      // Two coins from far apart, so that every pair of types meets
      spend([coins[n] as Coin, coins[coins.length - 1 - n] as Coin], 2, FEE, nextType),
    )
    add(
      made.map(({ tx }) => tx),
      made.reduce((fees, { fee }) => fees + fee, 0n),
    )
    coins = made.flatMap(({ coins }) => coins)
  }
  return blocks
}

/** What the scripts of a chain of so many full blocks ask of the curve. */
export const curveWorkOf = (fullBlocks: number): CurveWork => {
  const types = outputTypes()
  const each = (fullBlocks * 2 * TRANSACTIONS_IN_BLOCK) / types.length
  const sum = (of: (work: CurveWork) => number): number => types.reduce((n, { work }) => n + of(work) * each, 0)
  return { ecdsa: sum((work) => work.ecdsa) + 1, schnorr: sum((work) => work.schnorr), tweak: sum((work) => work.tweak) }
}

const CACHE = new URL('../../.cache/', import.meta.url)

/** Its blocks as bytes, from height 1 on. */
export const benchChain = (fullBlocks: number): Uint8Array[] => {
  const path = new URL(`bench-chain-${fullBlocks}-${OWNERS}.bin`, CACHE)
  if (!existsSync(path)) {
    mkdirSync(CACHE, { recursive: true })
    const parts = makeChain(fullBlocks).flatMap((block) => {
      const bytes = encodeBlock(block)
      return [Uint8Array.from([0, 8, 16, 24].map((shift) => bytes.length >>> shift)), bytes]
    })
    const part = new URL(`${path.href}.${process.pid}`)
    writeFileSync(part, concat(...parts))
    renameSync(part, path)
  }
  const all = new Uint8Array(readFileSync(path))
  const view = new DataView(all.buffer)
  const blocks: Uint8Array[] = []
  for (let at = 0; at < all.length;) {
    const length = view.getUint32(at, true)
    blocks.push(all.slice(at + 4, at + 4 + length))
    at += 4 + length
  }
  return blocks
}
