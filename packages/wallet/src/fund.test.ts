import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { buildScript, FeeratePerKw, OP, p2sh, p2tr, p2wsh, Sat, txWeight, type Tx, type Txid } from '@leyden/bitcoin'
import { hexToBytes } from '@leyden/codec'
import {
  balance,
  bumpFee,
  dustLimit,
  feeOf,
  findTransaction,
  fund,
  inputWeight,
  isRefusal,
  pendingTransactions,
  type FundRequest,
  type Wallet,
} from './index.ts'
import {
  checkWallet,
  coinbase,
  connect,
  foreignScript,
  incoming,
  keys,
  ok,
  output,
  own,
  scriptProblem,
  START,
  sum,
  spentBy,
  walletWith,
} from './testing.ts'

const request = (valueSat: bigint, more: Partial<FundRequest> = {}): FundRequest => ({
  outputs: [output(valueSat, foreignScript('shop'))],
  feeratePerKw: FeeratePerKw(1000),
  nowMs: 1,
  ...more,
})
const inSat = (wallet: Wallet, tx: Tx) => sum(spentBy(wallet, tx))

describe('weights', () => {
  it('are those of the signed inputs: exact for P2TR, at most two bytes more for P2WPKH', () => {
    for (const kind of ['p2wpkh', 'p2tr'] as const) {
      const start = walletWith([100_000n], kind)
      const { tx } = ok(fund(start, keys, request(0n, { all: true })))
      const expected = 4 * (8 + 1 + 1) + 2 + inputWeight(kind) + 4 * 31
      expect(expected - txWeight(tx)).toBeGreaterThanOrEqual(0)
      expect(expected - txWeight(tx)).toBeLessThanOrEqual(kind === 'p2tr' ? 0 : 2)
    }
  })

  it('knows dust as Bitcoin Core does', () => {
    const hash = new Uint8Array(20)
    expect(dustLimit(foreignScript('a'))).toBe(294n)
    expect(dustLimit(p2tr(new Uint8Array(32)))).toBe(330n)
    expect(dustLimit(p2wsh(new Uint8Array(32)))).toBe(330n)
    expect(dustLimit(p2sh(hash))).toBe(540n)
    expect(dustLimit(buildScript(OP.OP_DUP, OP.OP_HASH160, hash, OP.OP_EQUALVERIFY, OP.OP_CHECKSIG))).toBe(546n)
    expect(dustLimit(buildScript(OP.OP_RETURN, hash))).toBe(0n)
    expect(dustLimit(hexToBytes('51024e73'))).toBe(240n)
  })
})

/** Any send that is not refused: paid in full, at the rate, change ours and no dust, every script passing. */
const checkSend = (coins: [bigint, boolean][], values: bigint[], rate: number, changeKind: 'p2wpkh' | 'p2tr'): boolean => {
  const txs = coins.map(([value, taproot], i) => incoming(`c ${i}`, output(value, own(taproot ? 'p2tr' : 'p2wpkh', i))))
  const start = connect(START, txs)
  const outputs = values.map((value, i) => output(value, foreignScript(`to ${i}`)))
  const made = fund(start, keys, { outputs, feeratePerKw: FeeratePerKw(rate), changeKind, nowMs: 1 })
  if (isRefusal(made)) {
    expect(made.code).toBe('insufficient_balance')
    return false
  }
  const { tx, feeSat, changeIndex, wallet } = made
  expect(scriptProblem(start, tx)).toBeUndefined()
  expect(inSat(start, tx)).toBe(sum(tx.outputs) + feeSat)
  const change = changeIndex === undefined ? undefined : tx.outputs[changeIndex]
  expect(tx.outputs).toHaveLength(outputs.length + (change === undefined ? 0 : 1))
  for (const one of outputs) expect(tx.outputs).toContainEqual(one)
  if (change !== undefined) {
    expect(change.value).toBeGreaterThanOrEqual(dustLimit(change.scriptPubKey))
    expect(change.scriptPubKey).toEqual(own(changeKind, 0, 1))
    // Signatures may come out a byte or two shorter than reckoned
    expect(feeSat).toBeLessThanOrEqual(feeOf(rate, txWeight(tx) + 3 * tx.inputs.length))
  }
  expect(feeSat).toBeGreaterThanOrEqual(feeOf(rate, txWeight(tx)))
  expect(balance(wallet).unconfirmedSat).toBe(change?.value ?? 0n)
  checkWallet(wallet)
  return true
}

describe('sending', () => {
  it('pays, from coins of both kinds, with a change that is ours, and every script passes', () => {
    let made = 0
    fc.assert(
      fc.property(
        fc.array(fc.tuple(fc.bigInt(300n, 200_000n), fc.boolean()), { minLength: 1, maxLength: 12 }),
        fc.array(fc.bigInt(330n, 150_000n), { minLength: 1, maxLength: 4 }),
        fc.integer({ min: 250, max: 20_000 }),
        fc.constantFrom('p2wpkh' as const, 'p2tr' as const),
        (...args) => {
          if (checkSend(...args)) made++
        },
      ),
      { numRuns: 60 },
    )
    expect(made).toBeGreaterThan(0)
  })

  it('B12: never spends a coin twice, whatever is asked in a row', () => {
    let wallet = walletWith([50_000n, 40_000n, 30_000n, 20_000n])
    const spent = new Set<string>()
    let sent = 0
    const refusals: string[] = []
    for (let i = 0; i < 10; i++) {
      const made = fund(wallet, keys, request(19_000n, { minConfirmations: 1, ...(i % 2 === 0 ? { lockId: `${i}` } : {}) }))
      if (isRefusal(made)) {
        refusals.push(made.code)
        continue
      }
      sent++
      for (const { outpoint } of made.tx.inputs) {
        const key = `${outpoint.txid}:${outpoint.vout}`
        expect(spent.has(key)).toBe(false)
        spent.add(key)
      }
      wallet = made.wallet
    }
    expect(sent).toBe(4)
    expect(refusals).toEqual(Array.from({ length: 6 }, () => 'insufficient_balance'))
    checkWallet(wallet)
  })

  it('spends unconfirmed change of our own, never what others have not got mined, nor what is held', () => {
    const start = walletWith([100_000n])
    const first = ok(fund(start, keys, request(20_000n)))
    expect(ok(fund(first.wallet, keys, request(20_000n))).tx.inputs[0]?.outpoint.txid).toBe(first.txid)
    expect(fund(first.wallet, keys, request(20_000n, { minConfirmations: 1 }))).toMatchObject({ code: 'insufficient_balance' })
    const held = ok(fund(start, keys, request(20_000n, { lockId: 'a' })))
    expect(fund(held.wallet, keys, request(20_000n))).toMatchObject({ code: 'insufficient_balance' })
  })

  it('prefers confirmed coins', () => {
    const start = walletWith([100_000n, 60_000n])
    const first = ok(fund(start, keys, request(70_000n)))
    expect(first.tx.inputs).toHaveLength(1)
    const second = ok(fund(first.wallet, keys, request(20_000n)))
    expect(second.tx.inputs.map(({ outpoint }) => outpoint.txid)).not.toContain(first.txid)
  })

  it('does not build chains that no mempool takes', () => {
    let wallet = walletWith([10_000_000n])
    let made = 0
    for (;;) {
      const next = fund(wallet, keys, request(1000n))
      if (isRefusal(next)) break
      wallet = next.wallet
      made++
    }
    expect(made).toBeGreaterThan(15)
    expect(made).toBeLessThan(25)
    const mined = connect(wallet, pendingTransactions(wallet))
    expect(isRefusal(fund(mined, keys, request(1000n)))).toBe(false)
  })

  it('sends everything', () => {
    const start = connect(walletWith([50_000n, 40_000n]), [incoming('tiny', output(250n, own()))])
    const { tx, feeSat, wallet, changeIndex } = ok(fund(start, keys, request(1n, { all: true })))
    expect(changeIndex).toBeUndefined()
    // A coin that costs more than it holds stays
    expect(tx.inputs).toHaveLength(2)
    expect(tx.outputs).toEqual([output(90_000n - feeSat, foreignScript('shop'))])
    expect(balance(wallet).spendableSat).toBe(250n)
    expect(scriptProblem(start, tx)).toBeUndefined()
  })

  it('S46: keeps what is to be kept for bumping', () => {
    const start = walletWith([50_000n, 40_000n])
    expect(fund(start, keys, request(45_000n, { keepSat: 45_000n }))).toMatchObject({ code: 'reserve_needed' })
    expect(isRefusal(fund(start, keys, request(44_000n, { keepSat: 45_000n })))).toBe(false)
    const { tx, wallet, changeIndex } = ok(fund(start, keys, request(1n, { all: true, keepSat: 30_000n })))
    expect(tx.outputs[changeIndex!]).toEqual(output(30_000n, own('p2wpkh', 0, 1)))
    expect(balance(wallet, 30_000n).spendableSat).toBe(0n)
    expect(balance(wallet, 10_000n).spendableSat).toBe(20_000n)
    expect(fund(start, keys, request(1n, { all: true, keepSat: 90_000n }))).toMatchObject({ code: 'reserve_needed' })
  })

  it('spends the coins that are asked for', () => {
    const start = walletWith([50_000n, 40_000n, 30_000n])
    const smallest = [...start.coins.values()].find(({ valueSat }) => valueSat === 30_000n)!
    const { tx, wallet } = ok(fund(start, keys, request(5000n, { inputs: [smallest.outpoint, smallest.outpoint] })))
    expect(tx.inputs.map(({ outpoint }) => outpoint)).toEqual([smallest.outpoint])
    expect(fund(wallet, keys, request(5000n, { inputs: [smallest.outpoint] }))).toMatchObject({ code: 'coin_unavailable' })
  })

  it('changes nothing when it refuses', () => {
    const start = walletWith([50_000n])
    const before = structuredClone(start)
    const refused = [
      [request(60_000n), 'insufficient_balance'],
      [request(50_000n), 'insufficient_balance'],
      [request(293n), 'dust_output'],
      [request(20_000_000_00000000n), 'insufficient_balance'],
      [request(1000n, { outputs: [] }), 'invalid_outputs'],
      [request(1000n, { all: true, outputs: [output(1n, own()), output(1n, own())] }), 'invalid_outputs'],
      [request(1000n, { maxFeeSat: 10n }), 'over_budget'],
      [request(1000n, { all: true, feeratePerKw: FeeratePerKw(200_000) }), 'insufficient_balance'],
    ] as const
    for (const [asked, code] of refused) expect(fund(start, keys, asked)).toMatchObject({ kind: 'refusal', code })
    expect(start).toEqual(before)
    expect(fund(START, keys, request(1000n))).toMatchObject({ code: 'insufficient_balance' })
  })

  it('refuses a transaction that nobody would relay', () => {
    const start = walletWith(Array.from({ length: 1600 }, () => 1000n))
    expect(fund(start, keys, request(0n, { all: true, feeratePerKw: FeeratePerKw(250) }))).toMatchObject({ code: 'too_large' })
  })

  it('gives the same transaction for the same wallet, and another change address each time', () => {
    const start = walletWith([50_000n, 40_000n])
    const first = ok(fund(start, keys, request(10_000n)))
    expect(ok(fund(start, keys, request(10_000n))).tx).toEqual(first.tx)
    const second = ok(fund(first.wallet, keys, request(10_000n)))
    expect(second.tx.outputs[second.changeIndex!]?.scriptPubKey).not.toEqual(first.tx.outputs[first.changeIndex!]?.scriptPubKey)
  })
})

describe('replacing a payment of ours', () => {
  it('pays more from the change, replaces the old one, keeps label and payment', () => {
    const start = walletWith([50_000n])
    const first = ok(fund(start, keys, request(10_000n, { label: 'rent', reference: 'r' })))
    const second = ok(bumpFee(first.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(3000), nowMs: 2 }))
    expect(scriptProblem(start, second.tx)).toBeUndefined()
    expect(second.tx.inputs[0]?.outpoint).toEqual(first.tx.inputs[0]?.outpoint)
    expect(second.tx.outputs).toContainEqual(output(10_000n, foreignScript('shop')))
    expect(second.feeSat).toBeGreaterThanOrEqual(feeOf(3000, txWeight(second.tx)))
    expect(findTransaction(second.wallet, second.txid)).toMatchObject({ label: 'rent', reference: 'r', status: 'pending' })
    expect(findTransaction(second.wallet, first.txid)?.status).toBe('dropped')
    expect(pendingTransactions(second.wallet)).toEqual([second.tx])
    checkWallet(second.wallet)
    expect(bumpFee(second.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(3000), nowMs: 2 })).toMatchObject({
      code: 'no_longer_valid',
    })
  })

  it('always pays what BIP 125 wants of a replacement, at least', () => {
    const start = walletWith([50_000n])
    const first = ok(fund(start, keys, request(10_000n)))
    const second = ok(bumpFee(first.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(1000), nowMs: 2 }))
    expect(second.feeSat).toBeGreaterThanOrEqual(first.feeSat + feeOf(250, txWeight(second.tx)))
  })

  it('adds confirmed coins where the change does not suffice', () => {
    const start = walletWith([50_000n, 30_000n])
    const first = ok(fund(start, keys, request(49_000n)))
    expect(first.tx.inputs).toHaveLength(1)
    const second = ok(bumpFee(first.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(5000), nowMs: 2 }))
    expect(second.tx.inputs).toHaveLength(2)
    expect(scriptProblem(start, second.tx)).toBeUndefined()
    checkWallet(second.wallet)
  })

  it('pays a higher rate than before, however much the replacement has grown', () => {
    const start = walletWith([50_000n, 3_000n, 2_900n, 2_800n, 2_700n, 2_600n])
    const first = ok(fund(start, keys, request(49_530n)))
    const second = ok(bumpFee(first.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(250), nowMs: 2 }))
    expect(second.tx.inputs.length).toBeGreaterThan(1)
    expect(second.feeSat * BigInt(txWeight(first.tx))).toBeGreaterThan(first.feeSat * BigInt(txWeight(second.tx)))
  })

  it('refuses what cannot be replaced', () => {
    const start = walletWith([50_000n])
    const at = (wallet: Wallet, txid: Txid, more: object = {}) =>
      bumpFee(wallet, keys, { txid, feeratePerKw: FeeratePerKw(3000), nowMs: 2, ...more })
    const first = ok(fund(start, keys, request(10_000n)))
    const child = ok(fund(first.wallet, keys, request(10_000n)))
    const locked = ok(fund(start, keys, request(10_000n, { lockId: 'channel' })))
    const [funding] = start.transactions.values()
    expect(at(child.wallet, first.txid)).toMatchObject({ code: 'has_descendants' })
    expect(at(locked.wallet, locked.txid)).toMatchObject({ code: 'not_replaceable' })
    expect(at(start, funding!.txid)).toMatchObject({ code: 'already_confirmed' })
    expect(at(start, first.txid)).toMatchObject({ code: 'unknown_transaction' })
    expect(at(first.wallet, first.txid, { maxFeeSat: 500n })).toMatchObject({ code: 'over_budget' })
    expect(at(first.wallet, first.txid, { feeratePerKw: FeeratePerKw(200_000) })).toMatchObject({ code: 'insufficient_balance' })
  })

  it('does not take a coinbase that is too young', () => {
    const start = connect(walletWith([20_000n]), [coinbase(1, own('p2wpkh', 3))])
    const first = ok(fund(start, keys, request(19_000n)))
    expect(bumpFee(first.wallet, keys, { txid: first.txid, feeratePerKw: FeeratePerKw(9000), nowMs: 2 })).toMatchObject({
      code: 'insufficient_balance',
      data: { neededSat: Sat(19_000n) },
    })
  })
})
