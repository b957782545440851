import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { concat, hexToBytes } from '@leyden/codec'
import { derFromCompact, ecdsaSignLowR, pointFromSecret } from '@leyden/crypto'
import {
  buildScript,
  FeeratePerKw,
  OP,
  outpointKey,
  p2wshOf,
  type Sat,
  SIGHASH,
  sighashV0,
  Txid,
  txid,
  txWeight,
  witnessLength,
  type Tx,
  type TxOutput,
} from '@leyden/bitcoin'
import {
  balance,
  completeBump,
  cpfp,
  feeOf,
  findBump,
  findReliedOn,
  findTransaction,
  fund,
  fundForeign,
  isRefusal,
  pendingTransactions,
  releaseBump,
  seeTransaction,
  type Bumped,
  type CpfpRequest,
  type ForeignRequest,
  type Wallet,
} from './index.ts'
import {
  checkWallet,
  connect,
  disconnect,
  foreignScript,
  hashOf,
  keys,
  ok,
  output,
  scriptProblem,
  START,
  sum,
  walletWith,
} from './testing.ts'

/** A key of a channel: the wallet does not have it. */
const SECRET = hexToBytes('11'.repeat(32))
const SCRIPT = buildScript(pointFromSecret(SECRET), OP.OP_CHECKSIG)
const foreignOutput: TxOutput = output(40_000n, p2wshOf(SCRIPT))
const foreignOutpoint = { txid: Txid(hashOf('commitment')), vout: 2 }
const known = new Map([[outpointKey(foreignOutpoint), foreignOutput]])

const sign = (tx: Tx, index: number, value: Sat, type: number): Tx => {
  const signature = derFromCompact(ecdsaSignLowR(sighashV0(tx, index, SCRIPT, value, type), SECRET))
  const witness = [concat(signature, Uint8Array.of(type)), SCRIPT]
  return { ...tx, inputs: tx.inputs.map((input, i) => (i === index ? { ...input, witness } : input)) }
}

/** As an HTLC transaction of an anchor channel: no fee, its input and output fixed by the signature. */
const htlcTx = (valueSat = 40_000n): Tx =>
  sign(
    {
      version: 2,
      inputs: [{ outpoint: foreignOutpoint, scriptSig: new Uint8Array(0), sequence: 1, witness: [] }],
      outputs: [output(valueSat, foreignScript('delayed'))],
      lockTime: 0,
    },
    0,
    foreignOutput.value,
    SIGHASH.single | SIGHASH.anyoneCanPay,
  )

const htlcRequest = (rate: number, more: Partial<ForeignRequest> = {}): ForeignRequest => ({
  id: 'htlc 1',
  tx: htlcTx(),
  spent: [{ value: foreignOutput.value }],
  feeratePerKw: FeeratePerKw(rate),
  maxFeeSat: 20_000n,
  nowMs: 7,
  ...more,
})

const checkForeign = (wallet: Wallet, { tx, feeSat, spent }: Bumped): void => {
  expect(tx.inputs[0]).toEqual(htlcTx().inputs[0])
  expect(tx.outputs[0]).toEqual(htlcTx().outputs[0])
  expect(scriptProblem(wallet, tx, known)).toBeUndefined()
  expect(sum(spent)).toBe(sum(tx.outputs) + feeSat)
}

/** Any completion that is not refused: foreign parts untouched, scripts pass, fee at the rate or at the limit. */
const checkCompletion = (values: bigint[], rate: number, taproot: boolean): boolean => {
  const start = walletWith(values, taproot ? 'p2tr' : 'p2wpkh')
  const made = fundForeign(start, keys, htlcRequest(rate))
  if (isRefusal(made)) {
    expect(['insufficient_balance', 'over_budget']).toContain(made.code)
    return false
  }
  checkForeign(start, made)
  expect(made.feeSat).toBeLessThanOrEqual(20_000n)
  const wanted = feeOf(rate, txWeight(made.tx))
  expect(made.feeSat).toBeGreaterThanOrEqual(wanted < 20_000n ? wanted : feeOf(250, txWeight(made.tx)))
  expect(pendingTransactions(made.wallet)).toEqual([])
  expect(findTransaction(made.wallet, made.txid)).toMatchObject({
    status: 'pending',
    bump: 'htlc 1',
    feeSat: made.feeSat,
  })
  checkWallet(made.wallet)
  return true
}

describe('completing a foreign transaction', () => {
  it('adds inputs and change behind the foreign ones, keeps their witnesses, pays the rate', () => {
    let made = 0
    fc.assert(
      fc.property(
        fc.array(fc.bigInt(300n, 30_000n), { minLength: 1, maxLength: 8 }),
        fc.integer({ min: 250, max: 10_000 }),
        fc.boolean(),
        (...args) => {
          if (checkCompletion(...args)) made++
        },
      ),
      { numRuns: 60 },
    )
    expect(made).toBeGreaterThan(0)
  })

  it('is the same every time it is asked for the same or less', () => {
    const start = walletWith([50_000n])
    const first = ok(fundForeign(start, keys, htlcRequest(2000)))
    for (const rate of [2000, 1500, 253]) {
      const again = ok(fundForeign(first.wallet, keys, htlcRequest(rate)))
      expect(again).toMatchObject({ unchanged: true, tx: first.tx, txid: first.txid, feeSat: first.feeSat, changeIndex: 1 })
      expect(again.wallet).toBe(first.wallet)
      expect(again.spent).toEqual(first.spent)
    }
  })

  it('S8: replaces the attempt before: same coins, BIP 125 fees, never below the last bid', () => {
    const start = walletWith([3_000n, 9_000n, 50_000n])
    let last = ok(fundForeign(start, keys, htlcRequest(1000)))
    for (const rate of [1010, 3000, 9000, 15_000]) {
      const next = ok(fundForeign(last.wallet, keys, htlcRequest(rate)))
      checkForeign(start, next)
      const coins = ({ tx }: Bumped) => tx.inputs.slice(1).map(({ outpoint }) => outpointKey(outpoint))
      expect(coins(next)).toEqual(expect.arrayContaining(coins(last)))
      expect(next.feeSat).toBeGreaterThanOrEqual(last.feeSat + feeOf(250, txWeight(next.tx)))
      expect(Number(next.feeSat) / txWeight(next.tx)).toBeGreaterThan(Number(last.feeSat) / txWeight(last.tx))
      expect(findTransaction(next.wallet, last.txid)?.status).toBe('dropped')
      expect(findBump(next.wallet, 'htlc 1')?.txid).toBe(next.txid)
      // The old one comes late from the mempool: it is known to be replaced
      expect(seeTransaction(next.wallet, keys, last.tx, 9).wallet).toBe(next.wallet)
      checkWallet(next.wallet)
      last = next
    }
  })

  it('adds only confirmed coins to a replacement (BIP 125 rule 2), to a first attempt also our own change', () => {
    const start = walletWith([60_000n])
    const sent = ok(
      fund(start, keys, { outputs: [output(20_000n, foreignScript('s'))], feeratePerKw: FeeratePerKw(500), nowMs: 1 }),
    )
    const first = ok(fundForeign(sent.wallet, keys, htlcRequest(1000)))
    expect(first.tx.inputs[1]?.outpoint.txid).toBe(sent.txid)
    const poor = walletWith([1_200n, 60_000n])
    const small = ok(fundForeign(poor, keys, htlcRequest(1000)))
    const other = ok(
      fund(small.wallet, keys, { outputs: [output(20_000n, foreignScript('s'))], feeratePerKw: FeeratePerKw(500), nowMs: 1 }),
    )
    expect(small.tx.inputs[1]?.outpoint).not.toEqual(other.tx.inputs[0]?.outpoint)
    expect(fundForeign(other.wallet, keys, htlcRequest(9000))).toMatchObject({ code: 'insufficient_balance' })
  })

  it('does not lend its change to others: the next attempt would take it away', () => {
    const { wallet } = ok(fundForeign(walletWith([50_000n]), keys, htlcRequest(1000)))
    expect(balance(wallet).unconfirmedSat).toBeGreaterThan(40_000n)
    expect(balance(wallet).spendableSat).toBe(0n)
    expect(
      fund(wallet, keys, { outputs: [output(1000n, foreignScript('s'))], feeratePerKw: FeeratePerKw(500), nowMs: 1 }),
    ).toMatchObject({ code: 'insufficient_balance' })
  })

  it('S16: takes the limit where the rate would cost more, and refuses where the limit allows nothing', () => {
    const start = walletWith([50_000n])
    const capped = ok(fundForeign(start, keys, htlcRequest(20_000, { maxFeeSat: 1_500n })))
    expect(capped.feeSat).toBe(1_500n)
    checkForeign(start, capped)
    // All that it may pay is paid: more cannot be had
    expect(ok(fundForeign(capped.wallet, keys, htlcRequest(30_000, { maxFeeSat: 1_500n })))).toMatchObject({ unchanged: true })
    expect(fundForeign(capped.wallet, keys, htlcRequest(30_000, { maxFeeSat: 1_510n }))).toMatchObject({ code: 'over_budget' })
    expect(fundForeign(start, keys, htlcRequest(1000, { maxFeeSat: 100n }))).toMatchObject({ code: 'over_budget' })
  })

  it('refuses without coins', () => {
    expect(fundForeign(START, keys, htlcRequest(1000))).toMatchObject({ kind: 'refusal', code: 'insufficient_balance' })
  })

  it('gives back as it is what pays enough by itself', () => {
    const tx = htlcTx(35_000n)
    expect(ok(fundForeign(START, keys, htlcRequest(1000, { tx })))).toMatchObject({ tx, feeSat: 5_000n, unchanged: true })
  })

  it('S18: ends when any attempt is mined, and goes on after a reorganisation', () => {
    const start = walletWith([50_000n])
    const first = ok(fundForeign(start, keys, htlcRequest(1000)))
    const second = ok(fundForeign(first.wallet, keys, htlcRequest(3000)))
    const mined = connect(second.wallet, [first.tx])
    expect(fundForeign(mined, keys, htlcRequest(9000))).toMatchObject({ code: 'already_confirmed' })
    expect(findTransaction(mined, second.txid)?.status).toBe('dropped')
    checkWallet(mined)
    const back = disconnect(mined)
    expect(ok(fundForeign(back, keys, htlcRequest(1000)))).toMatchObject({ unchanged: true, txid: first.txid })
    expect(ok(fundForeign(back, keys, htlcRequest(9000))).txid).not.toBe(first.txid)
  })

  it('is not given up while a payment stands on it, until the commitment that it spends from is replaced', () => {
    const commitment = { txid: foreignOutpoint.txid, inputs: [{ txid: Txid(hashOf('funding')), vout: 0 }] }
    const start = walletWith([50_000n])
    const first = ok(fundForeign(start, keys, htlcRequest(1000, { parent: commitment })))
    const payment = { outputs: [output(20_000n, foreignScript('payee'))], feeratePerKw: FeeratePerKw(500), nowMs: 8 }
    const paid = ok(fund(connect(first.wallet, [first.tx]), keys, payment))
    const back = disconnect(paid.wallet)
    expect(releaseBump(back, 'htlc 1')).toBe(back)
    const [input] = htlcTx().inputs
    const rival: Tx = { ...htlcTx(), inputs: [{ ...input!, outpoint: commitment.inputs[0]! }] }
    const lost = connect(back, [rival])
    checkWallet(lost)
    expect(findTransaction(lost, paid.txid)).toMatchObject({ status: 'dropped', replacedBy: txid(rival) })
    expect(balance(lost)).toEqual(balance(start))
  })

  it('is not replaced while a payment stands on it that was made before a reorganisation took it out', () => {
    const start = walletWith([50_000n])
    const first = ok(fundForeign(start, keys, htlcRequest(1000)))
    const mined = connect(first.wallet, [first.tx])
    const paid = ok(
      fund(mined, keys, { outputs: [output(20_000n, foreignScript('payee'))], feeratePerKw: FeeratePerKw(500), nowMs: 8 }),
    )
    const back = disconnect(paid.wallet)
    const asked = ok(fundForeign(back, keys, htlcRequest(9000)))
    expect(asked).toMatchObject({ unchanged: true, txid: first.txid })
    expect(findTransaction(asked.wallet, paid.txid)?.status).toBe('pending')
    const rival = htlcTx(39_000n)
    expect(findReliedOn(back, rival)).toEqual(first.tx)
    expect(findReliedOn(disconnect(mined), rival)).toBeUndefined()
    expect(findReliedOn(back, first.tx)).toBeUndefined()
  })

  it('never leaves two in account that spend the same, whatever ids were used', () => {
    const start = walletWith([50_000n, 40_000n])
    const first = ok(fundForeign(start, keys, htlcRequest(1000)))
    const mined = connect(first.wallet, [first.tx])
    const second = ok(fundForeign(mined, keys, htlcRequest(1000, { id: 'htlc 2' })))
    const back = disconnect(second.wallet)
    checkWallet(back)
    expect(findTransaction(back, first.txid)?.status).toBe('pending')
    expect(findTransaction(back, second.txid)?.status).toBe('dropped')
  })

  it('takes the witness that is to come into account', () => {
    const start = walletWith([50_000n], 'p2tr')
    const signed = htlcTx()
    const bare: Tx = { ...signed, inputs: signed.inputs.map((input) => ({ ...input, witness: [] })) }
    const made = ok(
      fundForeign(
        start,
        keys,
        htlcRequest(1000, {
          tx: bare,
          spent: [foreignOutput],
          witnessWeights: [witnessLength(signed.inputs[0]!.witness)],
        }),
      ),
    )
    const whole = { ...made.tx, inputs: made.tx.inputs.map((input, i) => (i === 0 ? signed.inputs[0]! : input)) }
    expect(made.feeSat).toBe(feeOf(1000, txWeight(whole)))
    expect(scriptProblem(start, whole, known)).toBeUndefined()
    const completed = completeBump(made.wallet, keys, whole, 8)
    expect(findTransaction(completed, made.txid)?.tx).toEqual(whole)
    expect(findTransaction(completed, made.txid)?.bump).toBe('htlc 1')
    expect(ok(fundForeign(completed, keys, htlcRequest(1000))).tx).toEqual(whole)
    checkWallet(completed)
  })

  it('frees the coins when it is given up', () => {
    const start = walletWith([50_000n])
    const { wallet } = ok(fundForeign(start, keys, htlcRequest(1000)))
    expect(balance(releaseBump(wallet, 'htlc 1'))).toEqual(balance(start))
    expect(releaseBump(start, 'htlc 1')).toBe(start)
  })

  it('throws when it is not told what is spent', () => {
    expect(() => fundForeign(START, keys, htlcRequest(1000, { spent: [] }))).toThrow(RangeError)
  })
})

describe('child pays for parent', () => {
  const anchorOutput = output(330n, p2wshOf(SCRIPT))
  const parentId = Txid(hashOf('parent'))
  const anchors = new Map([[outpointKey({ txid: parentId, vout: 1 }), anchorOutput]])
  const request = (rate: number, more: Partial<CpfpRequest> = {}): CpfpRequest => ({
    id: 'commitment 1',
    parent: { txid: parentId, weight: 1124, feeSat: 300n },
    anchor: {
      outpoint: { txid: parentId, vout: 1 },
      output: anchorOutput,
      witnessWeight: 1 + 1 + 71 + 1 + SCRIPT.length,
    },
    feeratePerKw: FeeratePerKw(rate),
    maxFeeSat: 50_000n,
    nowMs: 3,
    ...more,
  })
  const finish = ({ tx }: Bumped): Tx => sign(tx, 0, anchorOutput.value, SIGHASH.all)

  /** Any child that is not refused. */
  const checkPackage = (values: bigint[], rate: number, taproot: boolean): boolean => {
    const start = walletWith(values, taproot ? 'p2tr' : 'p2wpkh')
    const made = cpfp(start, keys, request(rate))
    if (isRefusal(made)) {
      expect(['insufficient_balance', 'over_budget']).toContain(made.code)
      return false
    }
    expect(made.tx.inputs[0]?.witness).toEqual([])
    const whole = finish(made)
    expect(txid(whole)).toBe(made.txid)
    expect(scriptProblem(start, whole, anchors)).toBeUndefined()
    expect(sum(made.spent)).toBe(sum(whole.outputs) + made.feeSat)
    expect(whole.outputs).toHaveLength(1)
    expect(whole.outputs[0]!.value).toBeGreaterThanOrEqual(294n)
    const packageFee = made.feeSat + 300n
    const packageWeight = 1124 + txWeight(whole)
    expect(packageFee).toBeGreaterThanOrEqual(feeOf(rate, packageWeight))
    expect(packageFee).toBeLessThanOrEqual(feeOf(rate, packageWeight + 3 * whole.inputs.length) + feeOf(250, txWeight(whole)))
    checkWallet(completeBump(made.wallet, keys, whole, 4))
    return true
  }

  it('makes parent and child pay the rate, our signatures standing when the anchor is signed', () => {
    let made = 0
    fc.assert(
      fc.property(
        fc.array(fc.bigInt(300n, 60_000n), { minLength: 1, maxLength: 6 }),
        fc.integer({ min: 300, max: 20_000 }),
        fc.boolean(),
        (...args) => {
          if (checkPackage(...args)) made++
        },
      ),
      { numRuns: 50 },
    )
    expect(made).toBeGreaterThan(0)
  })

  it('replaces its attempts as BIP 125 wants, and only for more', () => {
    const start = walletWith([5_000n, 60_000n])
    let last = ok(cpfp(start, keys, request(1000)))
    last = { ...last, wallet: completeBump(last.wallet, keys, finish(last), 4) }
    expect(ok(cpfp(last.wallet, keys, request(900)))).toMatchObject({ unchanged: true, tx: finish(last) })
    for (const rate of [1001, 4000, 12_000]) {
      const next = ok(cpfp(last.wallet, keys, request(rate)))
      const whole = finish(next)
      expect(scriptProblem(start, whole, anchors)).toBeUndefined()
      expect(next.feeSat).toBeGreaterThanOrEqual(last.feeSat + feeOf(250, txWeight(whole)))
      checkWallet(next.wallet)
      last = { ...next, wallet: completeBump(next.wallet, keys, whole, 4) }
    }
    expect(last.tx.inputs.length).toBe(3)
  })

  it('pays relay for itself even where the package needs almost nothing', () => {
    const start = walletWith([60_000n])
    const made = ok(cpfp(start, keys, request(270)))
    expect(made.feeSat).toBeGreaterThanOrEqual(feeOf(250, txWeight(finish(made))))
  })

  it('refuses without coins, without need, and above the limit', () => {
    expect(cpfp(START, keys, request(1000))).toMatchObject({ code: 'insufficient_balance' })
    expect(cpfp(walletWith([60_000n]), keys, request(266))).toMatchObject({ code: 'not_needed' })
    expect(cpfp(walletWith([60_000n]), keys, request(1000, { maxFeeSat: 50n }))).toMatchObject({ code: 'over_budget' })
  })

  const parentTx: Tx = {
    ...htlcTx(),
    outputs: [output(90_000n, foreignScript('main')), anchorOutput],
  }
  const withParent = (rate: number): CpfpRequest => {
    const id = txid(parentTx)
    const { parent, anchor } = request(rate)
    return request(rate, {
      parent: { ...parent, txid: id, inputs: parentTx.inputs.map(({ outpoint }) => outpoint) },
      anchor: { ...anchor, outpoint: { txid: id, vout: 1 } },
    })
  }

  it('frees the coins when another commitment than the parent is mined, and pays again after a reorganisation', () => {
    const start = walletWith([60_000n])
    const { wallet, txid: childId } = ok(cpfp(start, keys, withParent(1000)))
    const rival: Tx = { ...parentTx, outputs: [output(90_000n, foreignScript('theirs'))] }
    expect(seeTransaction(wallet, keys, rival, 5).wallet).toBe(wallet)
    const lost = connect(wallet, [rival])
    expect(findTransaction(lost, childId)?.status).toBe('dropped')
    expect(balance(lost)).toEqual(balance(start))
    checkWallet(lost)
    expect(isRefusal(cpfp(disconnect(lost), keys, withParent(1000)))).toBe(false)
  })

  it('keeps the child when its parent is mined, and broadcasts it from then on', () => {
    const made = ok(cpfp(walletWith([60_000n]), keys, withParent(1000)))
    const whole = finish(made)
    const complete = completeBump(made.wallet, keys, whole, 4)
    expect(pendingTransactions(complete)).toEqual([])
    const mined = connect(complete, [parentTx])
    expect(pendingTransactions(mined)).toEqual([whole])
    expect(pendingTransactions(connect(made.wallet, [parentTx]))).toEqual([])
    const both = connect(complete, [parentTx, whole])
    expect(findTransaction(both, made.txid)?.status).toBe('confirmed')
    checkWallet(both)
  })

  it('B12: two bumps and a send share no coin', () => {
    const start = walletWith([60_000n, 50_000n, 40_000n])
    const child = ok(cpfp(start, keys, request(1000)))
    const htlc = ok(fundForeign(child.wallet, keys, htlcRequest(1000)))
    const send = ok(
      fund(htlc.wallet, keys, { outputs: [output(10_000n, foreignScript('s'))], feeratePerKw: FeeratePerKw(500), nowMs: 1 }),
    )
    const spent = [...child.tx.inputs.slice(1), ...htlc.tx.inputs.slice(1), ...send.tx.inputs].map(({ outpoint }) =>
      outpointKey(outpoint),
    )
    expect(new Set(spent).size).toBe(spent.length)
    checkWallet(send.wallet)
  })
})
