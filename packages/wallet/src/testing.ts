/** A small chain for the wallet's tests: blocks with a made-up hash, real transactions, every spent output remembered. */
import { sha256 } from '@leyden/crypto'
import { bytesToHex, utf8Encode } from '@leyden/codec'
import {
  BlockHash,
  BlockHeight,
  isCoinbase,
  NULL_VOUT,
  outpointKey,
  p2wpkh,
  Sat,
  SEQUENCE_FINAL,
  STANDARD_SCRIPT_FLAGS,
  Txid,
  txid,
  verifyTx,
  ZERO_HASH,
  networks,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import {
  connectBlock,
  createWalletKeys,
  disconnectBlock,
  emptyWallet,
  isRefusal,
  seedFromMnemonic,
  type AddressKind,
  type ConnectedBlock,
  type Refusal,
  type Wallet,
} from './index.ts'
import { deriveCoins } from './draft.ts'

export const ABANDON = 'abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about'
export const seed = seedFromMnemonic(ABANDON) as Uint8Array
export const keys = createWalletKeys(seed, networks.regtest)

export const hashOf = (text: string): string => bytesToHex(sha256(utf8Encode(text)))
export const blockHashOf = (text: string): BlockHash => BlockHash(hashOf(`block ${text}`))
export const birthday = { height: BlockHeight(100), hash: blockHashOf('100') }
export const START: Wallet = emptyWallet(birthday)

export const own = (kind: AddressKind = 'p2wpkh', index = 0, change: 0 | 1 = 0): Uint8Array =>
  keys.scriptPubKey({ kind, change, index })
export const foreignScript = (name: string): Uint8Array => p2wpkh(sha256(utf8Encode(name)).slice(0, 20))
export const output = (value: bigint, scriptPubKey: Uint8Array): TxOutput => ({ value: Sat(value), scriptPubKey })

/** Somebody else's transaction: spends outputs that nobody knows. */
export const incoming = (name: string, ...outputs: readonly TxOutput[]): Tx => ({
  version: 2,
  inputs: [
    {
      outpoint: { txid: Txid(hashOf(`coin of ${name}`)), vout: 0 },
      scriptSig: new Uint8Array(0),
      sequence: SEQUENCE_FINAL,
      witness: [utf8Encode('signature'), utf8Encode('key')],
    },
  ],
  outputs,
  lockTime: 0,
})

export const coinbase = (height: number, scriptPubKey: Uint8Array, salt = ''): Tx => ({
  version: 2,
  inputs: [
    {
      outpoint: { txid: Txid(ZERO_HASH), vout: NULL_VOUT },
      scriptSig: utf8Encode(`${height}${salt}`),
      sequence: SEQUENCE_FINAL,
      witness: [new Uint8Array(32)],
    },
  ],
  outputs: [output(50_0000_0000n, scriptPubKey)],
  lockTime: 0,
})

export const blockOf = (height: number, transactions: readonly Tx[], salt = ''): ConnectedBlock => ({
  height: BlockHeight(height),
  hash: blockHashOf(`${height}${salt}`),
  time: 1_700_000_000 + 600 * height,
  transactions,
})

/** The value; a refusal fails the test. */
export const ok = <T>(value: T | Refusal): T => {
  if (isRefusal(value))
    throw new Error(
      `refused: ${value.code} ${JSON.stringify(value.data, (_, v: unknown) => (typeof v === 'bigint' ? `${v}` : v))}`,
    )
  return value
}

export const connect = (wallet: Wallet, transactions: readonly Tx[] = [], salt = ''): Wallet =>
  ok(connectBlock(wallet, keys, blockOf(wallet.tip.height + 1, transactions, salt))).wallet

export const connectMany = (wallet: Wallet, count: number): Wallet => {
  let next = wallet
  for (let i = 0; i < count; i++) next = connect(next)
  return next
}

export const disconnect = (wallet: Wallet): Wallet =>
  ok(disconnectBlock(wallet, { height: wallet.tip.height, hash: wallet.tip.hash! })).wallet

/** A wallet with one confirmed coin for each value. */
export const walletWith = (values: readonly bigint[], kind: AddressKind = 'p2wpkh', start: Wallet = START): Wallet =>
  connect(
    start,
    values.map((value, i) => incoming(`${kind} ${i} ${start.tip.height}`, output(value, own(kind, i % 10)))),
  )

/** What a transaction spends: known to the wallet, or given. */
export const spentBy = (wallet: Wallet, tx: Tx, foreign: ReadonlyMap<string, TxOutput> = new Map()): TxOutput[] =>
  tx.inputs.map(({ outpoint }) => {
    const known = foreign.get(outpointKey(outpoint)) ?? wallet.transactions.get(outpoint.txid)?.tx.outputs[outpoint.vout]
    if (known === undefined) throw new Error(`unknown output ${outpointKey(outpoint)}`)
    return known
  })

/** Undefined when every input may spend its output under the rules of relay. */
export const scriptProblem = (wallet: Wallet, tx: Tx, foreign?: ReadonlyMap<string, TxOutput>) =>
  verifyTx(tx, spentBy(wallet, tx, foreign), STANDARD_SCRIPT_FLAGS)

export const sum = (values: readonly { readonly value: bigint }[]): bigint => values.reduce((n, { value }) => n + value, 0n)
export const idOf = (tx: Tx): Txid => txid(tx)

/** The rules that every wallet keeps: its coins follow from its transactions, and no two that count spend the same. */
export const checkWallet = (wallet: Wallet): void => {
  const expected = deriveCoins(wallet.transactions)
  const plain = (coins: Wallet['coins']) => [...coins].sort(([a], [b]) => (a < b ? -1 : 1))
  const [a, b] = [plain(wallet.coins), plain(expected)]
  const text = (value: unknown) => JSON.stringify(value, (_, v: unknown) => (typeof v === 'bigint' ? `${v}n` : v))
  const sorted = (coins: typeof a) => coins.map(([key, coin]) => [key, Object.entries(coin).sort(([x], [y]) => (x < y ? -1 : 1))])
  if (text(sorted(a)) !== text(sorted(b))) throw new Error(`coins differ:\n${text(sorted(a))}\n${text(sorted(b))}`)
  const spent = new Map<string, string>()
  for (const record of wallet.transactions.values()) {
    if (record.dropped !== undefined || isCoinbase(record.tx)) continue
    for (const { outpoint } of record.tx.inputs) {
      const key = outpointKey(outpoint)
      if (spent.has(key)) throw new Error(`${key} is spent twice`)
      spent.set(key, record.txid)
    }
  }
}
