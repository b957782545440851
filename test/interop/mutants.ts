/**
 * Scripts, spends and blocks that are right or wrong in one of many ways, from a seed: the same bytes are given to bitcoind and to us.
 * Nothing here knows the answer: the other program does. What only Bitcoin Inquisition has (OP_CAT in tapscript, OP_NOP4 as
 * OP_CHECKTEMPLATEVERIFY, keys that begin with 01) is left out.
 */
import { concat } from '@leyden/codec'
import {
  buildScript,
  coinbaseHeightScript,
  controlBlock,
  merkleRoot,
  OP,
  p2sh,
  p2tr,
  p2wshOf,
  pushBytes,
  Sat,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  subsidy,
  networks,
  tapLeafHash,
  txid,
  witnessCommitment,
  witnessCommitmentScript,
  wtxid,
  ZERO_HASH,
  NULL_VOUT,
  type Block,
  type BlockHash,
  type Tx,
  type Txid,
  type TxInput,
} from '@leyden/bitcoin'
import {
  derFromCompact,
  ecdsaSign,
  hash160,
  pointFromSecret,
  schnorrSign,
  taprootTweakPoint,
  xOnlyFromPoint,
} from '@leyden/crypto'
import { findNonce } from '@leyden/ledger'

export interface Dice {
  /** 0 to n - 1. */
  below(n: number): number
  /** True once in n times. */
  oneIn(n: number): boolean
  pick<T>(items: readonly T[]): T
  bytes(length: number): Uint8Array
}

/** The same throws for the same seed (mulberry32). */
export const dice = (seed: number): Dice => {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return (t ^ (t >>> 14)) >>> 0
  }
  const below = (n: number): number => next() % n
  return {
    below,
    oneIn: (n) => below(n) === 0,
    pick: (items) => items[below(items.length)] as never,
    bytes: (length) => Uint8Array.from({ length }, () => next() & 0xff),
  }
}

const SECRET = new Uint8Array(32).fill(0x21)
const POINT = pointFromSecret(SECRET)
const XONLY = xOnlyFromPoint(POINT)
const NONE = new Uint8Array(0)

const without = (...names: readonly number[]): number[] => Object.values(OP).filter((opcode) => !names.includes(opcode))
const OPCODES = without(OP.OP_PUSHDATA1, OP.OP_PUSHDATA2, OP.OP_PUSHDATA4, OP.OP_CAT, OP.OP_NOP4)
/** Opcodes that mostly do something sensible. */
const USUAL = [
  OP.OP_DUP,
  OP.OP_DROP,
  OP.OP_SWAP,
  OP.OP_ADD,
  OP.OP_SUB,
  OP.OP_EQUAL,
  OP.OP_VERIFY,
  OP.OP_IF,
  OP.OP_NOTIF,
  OP.OP_ELSE,
  OP.OP_ENDIF,
  OP.OP_SIZE,
  OP.OP_SHA256,
  OP.OP_HASH160,
  OP.OP_NOT,
  OP.OP_BOOLAND,
  OP.OP_NUMEQUAL,
  OP.OP_WITHIN,
  OP.OP_PICK,
  OP.OP_ROLL,
  OP.OP_DEPTH,
  OP.OP_IFDUP,
  OP.OP_CHECKLOCKTIMEVERIFY,
  OP.OP_CHECKSEQUENCEVERIFY,
  OP.OP_TOALTSTACK,
  OP.OP_FROMALTSTACK,
] as const

const EDGES = [
  NONE,
  Uint8Array.of(0),
  Uint8Array.of(0x80),
  Uint8Array.of(1),
  Uint8Array.of(0x81),
  Uint8Array.of(0, 0),
  Uint8Array.of(0xff, 0xff, 0xff, 0x7f),
  Uint8Array.of(0xff, 0xff, 0xff, 0xff),
  Uint8Array.of(0, 0, 0, 0x80, 0),
  Uint8Array.of(0xff, 0xff, 0xff, 0xff, 0x7f),
  Uint8Array.of(0, 0x65, 0xcd, 0x1d),
]

const key = (from: Dice): Uint8Array => {
  const roll = from.below(10)
  if (roll < 5) return POINT
  if (roll < 7) return XONLY
  if (roll === 7) return NONE
  const bytes = from.bytes(from.pick([32, 33, 65]))
  return bytes[0] === 1 ? POINT : bytes
}

/** One step of a script. */
const step = (from: Dice): Uint8Array => {
  const roll = from.below(20)
  if (roll < 6) return Uint8Array.of(from.pick(USUAL))
  if (roll < 9) return Uint8Array.of(from.pick(OPCODES))
  if (roll < 13) return Uint8Array.of(OP.OP_1 + from.below(4))
  if (roll < 15) return from.oneIn(6) ? pushBytes(from.pick(EDGES)) : buildScript(from.pick(EDGES))
  if (roll < 16) return pushBytes(from.bytes(from.below(6)))
  if (roll < 17) return concat(buildScript(key(from)), Uint8Array.of(from.pick([OP.OP_CHECKSIG, OP.OP_CHECKSIGVERIFY])))
  if (roll < 18) return buildScript(BigInt(from.below(3)), key(from), key(from), BigInt(from.below(4)), OP.OP_CHECKMULTISIG)
  if (roll < 19) return concat(buildScript(key(from)), Uint8Array.of(OP.OP_CHECKSIGADD))
  return from.oneIn(4)
    ? from.bytes(1 + from.below(3)).map((byte) => (byte === OP.OP_CAT || byte === OP.OP_NOP4 ? 0 : byte))
    : NONE
}

const script = (from: Dice): Uint8Array => {
  const parts: Uint8Array[] = []
  for (let left = 1 + from.below(10); left > 0; left--) parts.push(step(from))
  if (from.oneIn(60)) parts.push(new Uint8Array(from.pick([190, 201, 202, 500, 9_900])).fill(OP.OP_NOP))
  if (from.oneIn(60)) parts.push(new Uint8Array(from.pick([900, 1001])).fill(OP.OP_1))
  if (from.oneIn(60)) parts.push(pushBytes(new Uint8Array(from.pick([520, 521]))))
  return concat(...parts)
}

type Kind = 'bare' | 'p2sh' | 'p2wsh' | 'p2sh-p2wsh' | 'p2tr' | 'tapscript'

/** An output with a script of its own, and how somebody will try to spend it. */
export interface Riddle {
  readonly kind: Kind
  readonly scriptPubKey: Uint8Array
  /** The spend of outpoint `vout` of transaction `id`, worth `value`, that pays 1,000 less to `to`. */
  readonly spend: (id: Txid, vout: number, value: bigint, to: Uint8Array) => Tx
}

const HASH_TYPES = [0, 1, 1, 1, 2, 3, 0x81, 0x82, 0x83, 4, 0x41, 0xff]

export const riddle = (from: Dice): Riddle => {
  const kind = from.pick(['bare', 'p2sh', 'p2wsh', 'p2wsh', 'p2sh-p2wsh', 'p2tr', 'tapscript', 'tapscript'] as const)
  const inner = script(from)
  const leafVersion = from.oneIn(12) ? 0xc2 : 0xc0
  const leaf = tapLeafHash(inner, leafVersion)
  const { xonly, parity } = taprootTweakPoint(XONLY, kind === 'p2tr' ? undefined : leaf)
  const scriptPubKey = {
    bare: inner,
    p2sh: p2sh(hash160(inner)),
    p2wsh: p2wshOf(inner),
    'p2sh-p2wsh': p2sh(hash160(p2wshOf(inner))),
    p2tr: p2tr(xonly),
    tapscript: p2tr(xonly),
  }[kind]
  const stack = Array.from({ length: from.below(5) }, () => (from.oneIn(3) ? 'signature' : from.pick(EDGES)))
  const hashType = from.pick(HASH_TYPES)
  const version = from.pick([1, 2, 2, 2])
  const sequence = from.pick([0xffff_fffd, 0xffff_ffff, 0, 1, 0x40_0000, 0x8000_0001])
  const lockTime = from.pick([0, 0, 1, 100, 499_999_999, 500_000_000])
  const damage = from.below(30)
  const controlDamage = from.below(15)
  const annex = from.oneIn(12)

  const spend = (id: Txid, vout: number, value: bigint, to: Uint8Array): Tx => {
    const draft: Tx = {
      version,
      inputs: [{ outpoint: { txid: id, vout }, scriptSig: NONE, sequence, witness: [] }],
      outputs: [{ value: Sat(value - 1000n), scriptPubKey: to }],
      lockTime,
    }
    const spent = { value: Sat(value), scriptPubKey }
    const annexBytes = annex ? Uint8Array.of(0x50, 1, 2) : undefined
    const withType = (bytes: Uint8Array): Uint8Array => (hashType === 0 ? bytes : concat(bytes, Uint8Array.of(hashType)))
    const signature = (): Uint8Array => {
      if (kind === 'p2tr' || kind === 'tapscript')
        try {
          const options = {
            ...(annexBytes === undefined ? {} : { annex: annexBytes }),
            ...(kind === 'p2tr' ? {} : { leafHash: leaf, codeSeparator: 0xffff_ffff }),
          }
          return withType(schnorrSign(sighashTaproot(draft, 0, [spent], hashType, options), SECRET, new Uint8Array(32)))
        } catch {
          return new Uint8Array(65).fill(hashType)
        }
      const digest =
        kind === 'bare' || kind === 'p2sh'
          ? sighashLegacy(draft, 0, inner, hashType)
          : sighashV0(draft, 0, inner, spent.value, hashType)
      return concat(derFromCompact(ecdsaSign(digest, SECRET)), Uint8Array.of(hashType))
    }
    const items = (kind === 'p2tr' ? ['signature' as const] : stack).map((item) => (item === 'signature' ? signature() : item))
    const pushes = concat(...items.map((item) => (damage === 5 ? pushBytes(item) : buildScript(item))))
    const input = (scriptSig: Uint8Array, witness: readonly Uint8Array[]): TxInput => ({
      ...(draft.inputs[0] as TxInput),
      scriptSig,
      witness,
    })
    const control = controlBlock(XONLY, parity, [], leafVersion)
    const brokenControl = [
      control.subarray(0, 32),
      concat(control, Uint8Array.of(0)),
      control.map((byte, at) => (at === 0 ? byte ^ 1 : byte)),
      concat(control, new Uint8Array(32)),
      control.map((byte, at) => (at === 9 ? byte ^ 1 : byte)),
    ][controlDamage]
    const tail = annexBytes === undefined ? [] : [annexBytes]
    const right: TxInput = {
      bare: () => input(pushes, []),
      p2sh: () => input(concat(pushes, pushBytes(inner)), []),
      p2wsh: () => input(NONE, [...items, inner]),
      'p2sh-p2wsh': () => input(pushBytes(p2wshOf(inner)), [...items, inner]),
      p2tr: () => input(NONE, [...items, ...tail]),
      tapscript: () => input(NONE, [...items, inner, brokenControl ?? control, ...tail]),
    }[kind]()
    const wrong: Record<number, () => TxInput> = {
      0: () => ({ ...right, witness: [...right.witness, Uint8Array.of(1)] }),
      1: () => ({ ...right, witness: right.witness.slice(1) }),
      2: () => ({ ...right, scriptSig: concat(right.scriptSig, Uint8Array.of(OP.OP_1)) }),
      3: () => ({ ...right, scriptSig: concat(Uint8Array.of(OP.OP_NOP), right.scriptSig) }),
      4: () => ({ ...right, scriptSig: NONE }),
    }
    return { ...draft, inputs: [(wrong[damage] ?? (() => right))()] }
  }
  return { kind, scriptPubKey, spend }
}

/** Where a block is to stand, and coins that it may spend with TRUE_WITNESS. */
export interface Ground {
  readonly previousHash: BlockHash
  readonly height: number
  readonly time: number
  readonly medianTime: number
  readonly bits: number
  readonly coins: readonly { readonly txid: Txid; readonly vout: number; readonly value: bigint }[]
  /** Coins of coinbases that are not ripe. */
  readonly unripe: readonly { readonly txid: Txid; readonly vout: number; readonly value: bigint }[]
  /** Hash of a block below the previous one. */
  readonly olderHash: BlockHash
}

const TRUE = Uint8Array.of(OP.OP_1)
/** Anyone may spend it with the script OP_1 as the witness. */
export const ANYONE: Uint8Array = p2wshOf(TRUE)

export const take = (coin: { readonly txid: Txid; readonly vout: number }, sequence = 0xffff_ffff): TxInput => ({
  outpoint: { txid: coin.txid, vout: coin.vout },
  scriptSig: NONE,
  sequence,
  witness: [TRUE],
})
const give = (value: bigint, scriptPubKey: Uint8Array = ANYONE) => ({ value: value as Sat, scriptPubKey })

type Draft = {
  header: { -readonly [K in keyof Block['header']]: Block['header'][K] }
  txs: Tx[]
  sealed: boolean
  worked: boolean
}
type Mutation = (draft: Draft, ground: Ground, from: Dice) => void

const changeCoinbase = (draft: Draft, change: (coinbase: Tx) => Tx): void => {
  draft.txs[0] = change(draft.txs[0] as Tx)
}
const changeInput = (tx: Tx, fields: Partial<TxInput>): Tx => ({
  ...tx,
  inputs: tx.inputs.map((input, i) => (i === 0 ? { ...input, ...fields } : input)),
})
const firstTx = (draft: Draft): Tx => draft.txs[1] as Tx

/** Ways to spoil a block, or to make it unusual. */
export const MUTATIONS: Readonly<Record<string, Mutation>> = {
  nothing: () => undefined,
  'old version': (draft, _, from) => void (draft.header.version = from.pick([0, 1, 2, 3, 4, 5, -1, 0x2000_0000])),
  'unknown parent': (draft, _, from) =>
    void (draft.header.previousHash = Buffer.from(from.bytes(32)).toString('hex') as BlockHash),
  'older parent': (draft, ground) => void (draft.header.previousHash = ground.olderHash),
  'time at the median': (draft, ground, from) => void (draft.header.time = ground.medianTime + from.below(3) - 1),
  'time ahead': (draft, ground, from) => void (draft.header.time = ground.time + from.pick([7000, 90_000])),
  bits: (draft, _, from) => void (draft.header.bits = from.pick([0x207ffffe, 0x1d00ffff, 0, 0x207fffff, 0x21008000])),
  'no work': (draft) => void (draft.worked = false),
  'other merkle root': (draft, _, from) => {
    draft.header.merkleRoot = Buffer.from(from.bytes(32)).toString('hex')
    draft.sealed = false
  },
  'coinbase script length': (draft, _, from) =>
    changeCoinbase(draft, (tx) => changeInput(tx, { scriptSig: from.bytes(from.pick([0, 1, 2, 100, 101])) })),
  'coinbase script filled': (draft, ground, from) =>
    changeCoinbase(draft, (tx) =>
      changeInput(tx, { scriptSig: concat(coinbaseHeightScript(ground.height), new Uint8Array(from.pick([0, 1, 97, 98, 99]))) }),
    ),
  'coinbase height': (draft, ground, from) =>
    changeCoinbase(draft, (tx) =>
      changeInput(tx, { scriptSig: concat(coinbaseHeightScript(ground.height + from.below(3) - 1), TRUE) }),
    ),
  'coinbase amount': (draft, _, from) =>
    changeCoinbase(draft, (tx) => ({
      ...tx,
      outputs: tx.outputs.map((output, i) =>
        i === 0
          ? give(from.pick([-1n, 0n, output.value - 1n, output.value + 1n, output.value + 2_100_000_000_000_000n]))
          : output,
      ),
    })),
  'coinbase with a lock time': (draft, ground, from) =>
    changeCoinbase(draft, (tx) => ({
      ...changeInput(tx, { sequence: from.pick([0, 0xffff_ffff]) }),
      lockTime: ground.height + from.below(3) - 2,
    })),
  'coinbase with two inputs': (draft, ground) =>
    changeCoinbase(draft, (tx) => ({ ...tx, inputs: [...tx.inputs, take(ground.coins[0] as never)] })),
  'two coinbases': (draft) => void draft.txs.push(draft.txs[0] as Tx),
  'coinbase last': (draft) => void draft.txs.push(draft.txs.shift() as Tx),
  'no coinbase': (draft) => void draft.txs.shift(),
  'no transactions': (draft) => void (draft.txs = []),
  'reserved value': (draft, _, from) =>
    changeCoinbase(draft, (tx) =>
      changeInput(tx, { witness: from.pick([[], [new Uint8Array(31)], [new Uint8Array(33)], [new Uint8Array(32), TRUE]]) }),
    ),
  'no commitment': (draft) => changeCoinbase(draft, (tx) => ({ ...tx, outputs: tx.outputs.slice(0, 1) })),
  'no commitment, no reserved value': (draft) =>
    changeCoinbase(draft, (tx) => ({ ...changeInput(tx, { witness: [] }), outputs: tx.outputs.slice(0, 1) })),
  'second commitment': (draft, _, from) =>
    changeCoinbase(draft, (tx) => {
      const other = give(0n, witnessCommitmentScript(from.bytes(32)))
      return { ...tx, outputs: from.oneIn(2) ? [...tx.outputs, other] : [other, ...tx.outputs] }
    }),
  'other witness': (draft) => void (draft.txs[1] = changeInput(firstTx(draft), { witness: [TRUE, TRUE] })),
  'no witness': (draft) => void (draft.txs[1] = changeInput(firstTx(draft), { witness: [] })),
  'a script in the way': (draft) => void (draft.txs[1] = changeInput(firstTx(draft), { scriptSig: TRUE })),
  'last transactions again': (draft) => {
    const count = draft.txs.length
    draft.txs.push(...draft.txs.slice(count % 2 === 1 ? -1 : -2))
    draft.sealed = false
  },
  'a transaction twice': (draft) => void draft.txs.push(firstTx(draft)),
  'an input twice': (draft) => {
    const tx = firstTx(draft)
    draft.txs[1] = { ...tx, inputs: [...tx.inputs, ...tx.inputs] }
  },
  'a coin twice': (draft) => void draft.txs.push({ ...firstTx(draft), outputs: [give(5n)] }),
  'child before parent': (draft) => {
    const parent = firstTx(draft)
    draft.txs.splice(1, 0, {
      ...parent,
      inputs: [take({ txid: txid(parent), vout: 0 })],
      outputs: [give((parent.outputs[0] as { value: bigint }).value)],
    })
  },
  'child after parent': (draft) => {
    const parent = firstTx(draft)
    draft.txs.push({ ...parent, inputs: [take({ txid: txid(parent), vout: 0 })], outputs: [give(1n)] })
  },
  'unknown coin': (draft, _, from) => {
    const tx = firstTx(draft)
    const outpoint = from.oneIn(2)
      ? { txid: Buffer.from(from.bytes(32)).toString('hex') as Txid, vout: 0 }
      : { txid: (tx.inputs[0] as TxInput).outpoint.txid, vout: 99 }
    draft.txs[1] = changeInput(tx, { outpoint })
  },
  'null coin': (draft) =>
    void (draft.txs[1] = {
      ...firstTx(draft),
      inputs: [...firstTx(draft).inputs, take({ txid: ZERO_HASH as Txid, vout: NULL_VOUT })],
    }),
  'unripe coin': (draft, ground, from) => {
    const coin = from.pick(ground.unripe)
    draft.txs.push({ version: 2, inputs: [take(coin)], outputs: [give(coin.value)], lockTime: 0 })
  },
  'more out than in': (draft) => {
    const tx = firstTx(draft)
    draft.txs[1] = { ...tx, outputs: tx.outputs.map(({ value }) => give(value + 2000n)) }
  },
  amounts: (draft, _, from) => {
    const values = from.pick([
      [-1n],
      [2_100_000_000_000_001n],
      [2_100_000_000_000_000n, 1n],
      [(1n << 63n) - 1n, (1n << 63n) - 1n, 2n],
      [0n],
      [0n, 0n, 0n],
      [-(1n << 63n)],
    ])
    draft.txs[1] = { ...firstTx(draft), outputs: values.map((value) => give(value)) }
  },
  'no outputs': (draft) => void (draft.txs[1] = { ...firstTx(draft), outputs: [] }),
  'no inputs': (draft) => void draft.txs.push({ version: 2, inputs: [], outputs: [give(0n)], lockTime: 0 }),
  'lock time': (draft, ground, from) => {
    const tx = changeInput(firstTx(draft), { sequence: from.pick([0, 0xffff_fffe, 0xffff_ffff]) })
    const lockTime = from.pick([ground.height - 1, ground.height, ground.height + 1, ground.medianTime - 1, ground.medianTime])
    draft.txs[1] = { ...tx, lockTime }
  },
  'relative lock time': (draft, _, from) => {
    const tx = changeInput(firstTx(draft), { sequence: from.pick([1, 5, 200, 0x40_0000, 0x40_ffff, 0x8000_ffff, 0xffff]) })
    draft.txs[1] = { ...tx, version: from.pick([1, 2, 3, 0xffff_ffff, 0x8000_0000]) }
  },
  'signature operations': (draft, _, from) => {
    const tx = firstTx(draft)
    const count = from.pick([19_000, 19_999, 20_000, 20_001, 10_500])
    const half = (n: number) => give(0n, new Uint8Array(n).fill(OP.OP_CHECKSIG))
    draft.txs[1] = { ...tx, outputs: [...tx.outputs, half(Math.floor(count / 2)), half(Math.ceil(count / 2))] }
  },
  'unspendable outputs': (draft, _, from) => {
    const tx = firstTx(draft)
    draft.txs[1] = {
      ...tx,
      outputs: [...tx.outputs, give(0n, Uint8Array.of(OP.OP_RETURN)), give(0n, new Uint8Array(from.pick([10_000, 10_001])))],
    }
  },
  'a lot of bytes': (draft, _, from) => {
    const tx = firstTx(draft)
    const bytes = from.pick([950_000, 999_000, 999_700, 1_000_000])
    draft.txs[1] = { ...tx, outputs: [...tx.outputs, give(0n, new Uint8Array(bytes).fill(OP.OP_RETURN))] }
  },
}

/** A block on the ground with each of these mutations, its roots and its work made right again where they leave them alone. */
export const mutant = (ground: Ground, names: readonly string[], from: Dice): Block => {
  const coins = ground.coins.slice(0, 2)
  const txs: Tx[] = coins.map((coin) => ({
    version: 2,
    inputs: [take(coin)],
    outputs: [give(coin.value - 1000n)],
    lockTime: 0,
  }))
  const reserved = new Uint8Array(32)
  const coinbase: Tx = {
    version: 2,
    inputs: [
      {
        outpoint: { txid: ZERO_HASH as Txid, vout: NULL_VOUT },
        scriptSig: concat(coinbaseHeightScript(ground.height), pushBytes(from.bytes(4))),
        sequence: 0xffff_ffff,
        witness: [reserved],
      },
    ],
    outputs: [
      give(subsidy(ground.height, networks.regtest) + 1000n * BigInt(txs.length)),
      give(0n, witnessCommitmentScript(reserved)),
    ],
    lockTime: 0,
  }
  const draft: Draft = {
    header: {
      version: 0x2000_0000,
      previousHash: ground.previousHash,
      merkleRoot: ZERO_HASH,
      time: ground.time,
      bits: ground.bits,
      nonce: 0,
    },
    txs: [coinbase, ...txs],
    sealed: true,
    worked: true,
  }
  // The commitment is to what was there before a late mutation of witnesses, so each takes its turn before or after.
  const late = names.filter((name) => name === 'other witness' && from.oneIn(2))
  const apply = (list: readonly string[]): void =>
    list.forEach((name) => {
      // A mutation before it may have left nothing to work on.
      if (name === 'no transactions' || draft.txs.length > 1) MUTATIONS[name]?.(draft, ground, from)
    })
  const root = (): string => merkleRoot(draft.txs.map(txid))
  apply(names.filter((name) => !late.includes(name) && name !== 'last transactions again'))
  const commitment = give(0n, witnessCommitmentScript(witnessCommitment(draft.txs.map(wtxid), reserved)))
  if (draft.txs[0] === undefined) draft.header.merkleRoot = ZERO_HASH
  else {
    const at = draft.txs[0].outputs.findIndex(({ value }, i) => value === 0n && i > 0)
    const first = draft.txs[0]
    const fresh = !names.includes('second commitment')
    if (at > 0 && fresh) draft.txs[0] = { ...first, outputs: first.outputs.map((output, i) => (i === at ? commitment : output)) }
    if (draft.sealed) draft.header.merkleRoot = root()
  }
  apply(late)
  apply(names.filter((name) => name === 'last transactions again'))
  const block: Block = { header: draft.header, transactions: draft.txs }
  if (!draft.worked) return { ...block, header: { ...block.header, nonce: 1 } }
  return findNonce(block, 5000) ?? block
}
