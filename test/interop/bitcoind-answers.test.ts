/**
 * The same bytes and the same questions to bitcoind and to us, and the same answers: blocks that are wrong in every way that we know,
 * scripts by chance with spends that are right or nearly so, and what the RPC says about one chain. The two are not connected: every
 * block is handed to both. LEYDEN_CASES multiplies the number of cases, LEYDEN_SEED gives others.
 */
import { bytesToHex, equalBytes, hexToBytes } from '@leyden/codec'
import {
  decodeBlock,
  encodeBlock,
  encodeTx,
  merkleRoot,
  Sat,
  txid,
  witnessCommitment,
  witnessCommitmentScript,
  wtxid,
  type Block,
  type BlockHash,
  type Tx,
} from '@leyden/bitcoin'
import { type LedgerRpc, RpcError } from '@leyden/devnet-service'
import { findNonce } from '@leyden/ledger'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bitcoindInstalled, type Pair, startPair, stateOf } from './bitcoind.ts'
import { openOutputs, payment, type Spendable } from './payments.ts'
import { ANYONE, dice, type Dice, type Ground, mutant, MUTATIONS, riddle, take } from './mutants.ts'

const SEED = Number(process.env['LEYDEN_SEED'] ?? 1)
const TIMES = Number(process.env['LEYDEN_CASES'] ?? 1)

type Answer = { readonly result: unknown } | { readonly code: number; readonly message: string }

const ask = (rpc: LedgerRpc, method: string, params: readonly unknown[]): Promise<Answer> =>
  rpc.call(method, ...params).then(
    (result) => ({ result }),
    (error: unknown) => {
      if (!(error instanceof RpcError)) throw error
      return { code: error.code, message: error.message }
    },
  )

describe.skipIf(!bitcoindInstalled)('bitcoind and we', () => {
  let pair: Pair
  let core: LedgerRpc
  let ours: LedgerRpc
  let coins: {
    readonly txid: ReturnType<typeof txid>
    readonly vout: number
    readonly value: bigint
    readonly height: number
  }[] = []

  const both = (method: string, params: readonly unknown[]): Promise<[Answer, Answer]> =>
    Promise.all([ask(core, method, params), ask(ours, method, params)])
  const keepCoins = (block: Block, height: number): void => {
    const spent = new Set(
      block.transactions.flatMap(({ inputs }) => inputs.map((one) => `${one.outpoint.txid}:${one.outpoint.vout}`)),
    )
    coins = coins.filter((coin) => !spent.has(`${coin.txid}:${coin.vout}`))
    const coinbase = block.transactions[0] as Tx
    coinbase.outputs.forEach(({ value, scriptPubKey }, vout) => {
      if (equalBytes(scriptPubKey, ANYONE) && value > 1_000_000n) coins.push({ txid: txid(coinbase), vout, value, height })
    })
  }
  const ground = async (): Promise<Ground> => {
    const best = await core.call<{ hash: string; height: number; time: number; mediantime: number; previousblockhash: string }>(
      'getblockheader',
      await core.bestHash(),
    )
    return {
      previousHash: best.hash as BlockHash,
      height: best.height + 1,
      // Inquisition has BIP 94 on regtest.
      time: Math.max(best.mediantime + 1, best.time - 600, Math.floor(Date.now() / 1000)),
      medianTime: best.mediantime,
      bits: 0x207f_ffff,
      olderHash: best.previousblockhash as BlockHash,
      coins: coins.filter(({ height }) => height <= best.height - 99),
      unripe: coins.filter(({ height }) => height > best.height - 99),
    }
  }
  /** Hands the block to both, and gives their answers. */
  const submit = async (block: Block): Promise<[Answer, Answer]> => {
    const answers = await both('submitblock', [bytesToHex(encodeBlock(block))])
    if ('result' in answers[0] && answers[0].result === null) keepCoins(block, await core.height())
    return answers
  }
  const blockOf = (place: Ground, transactions: readonly Tx[], from: Dice): Block => {
    const { header, transactions: made } = mutant({ ...place, coins: [] }, [], from)
    const first = made[0] as Tx
    const scriptPubKey = witnessCommitmentScript(witnessCommitment([first, ...transactions].map(wtxid), new Uint8Array(32)))
    const coinbase = { ...first, outputs: [first.outputs[0] as Tx['outputs'][number], { value: Sat(0n), scriptPubKey }] }
    const all = [coinbase, ...transactions]
    return findNonce({ header: { ...header, merkleRoot: merkleRoot(all.map(txid)) }, transactions: all }) as Block
  }

  beforeAll(async () => {
    // With one thread bitcoind names the script error that it finds; with more it says that there is one.
    pair = await startPair(1, { coreArgs: ['-par=1'] })
    core = pair.core.rpc
    ours = pair.ours[0]!.rpc
    for (const hash of await core.mine(260)) {
      const hex = await core.call<string>('getblock', hash, 0)
      await ours.call('submitblock', hex)
      keepCoins(decodeBlock(hexToBytes(hex)), await ours.height())
    }
  })
  afterAll(() => pair.close())

  it.each(Object.keys(MUTATIONS))('judge blocks alike: %s', async (name) => {
    for (let i = 0; i < 3 * TIMES; i++) {
      const seed = SEED * 1000 + i
      const [theirs, mine] = await submit(mutant(await ground(), [name], dice(seed)))
      expect(mine, `seed ${seed}`).toEqual(theirs)
    }
    expect(await ours.bestHash()).toBe(await core.bestHash())
  })

  it('judge scripts alike, in the mempool and in blocks', async () => {
    for (let round = 0; round < TIMES; round++) {
      const from = dice(SEED * 100_000 + round)
      const riddles = Array.from({ length: 120 }, () => riddle(from))
      const place = await ground()
      const coin = place.coins[0] as Ground['coins'][number]
      const each = coin.value / 130n
      const outputs = riddles.map(({ scriptPubKey }) => ({ value: Sat(each), scriptPubKey }))
      const funding: Tx = { version: 2, inputs: [take(coin)], outputs, lockTime: 0 }
      expect(await submit(blockOf(place, [funding], from))).toEqual([{ result: null }, { result: null }])
      for (const [vout, { spend, scriptPubKey }] of riddles.entries()) {
        const tx = spend(txid(funding), vout, each, ANYONE)
        const hex = bytesToHex(encodeTx(tx))
        for (const [method, params] of [
          ['testmempoolaccept', [[hex]]],
          ['decoderawtransaction', [hex]],
        ] as const) {
          const [theirs, mine] = await both(method, params)
          expect(mine, `${method} of ${hex} that spends ${bytesToHex(scriptPubKey)}`).toEqual(theirs)
        }
        const [theirs, mine] = await submit(blockOf(await ground(), [tx], from))
        expect(mine, `a block with ${hex} that spends ${bytesToHex(scriptPubKey)}`).toEqual(theirs)
      }
    }
    expect(await stateOf(ours)).toEqual(await stateOf(core))
  })

  it('judge transactions alike, and keep the same mempool', async () => {
    const from = dice(SEED * 31 + 7)
    const place = await ground()
    let waiting: Spendable[] = []
    for (let i = 0; i < 150 * TIMES; i++) {
      const tx = payment(from, place, waiting)
      const hex = bytesToHex(encodeTx(tx))
      for (const [method, params] of [
        ['testmempoolaccept', [[hex]]],
        ['sendrawtransaction', [hex, from.pick([0, 0.1])]],
      ] as const) {
        const [theirs, mine] = await both(method, params)
        expect(mine, `${method} of number ${i}, ${hex}`).toEqual(theirs)
      }
      const ids = await core.mempool()
      expect([...(await ours.mempool())].sort(), `mempool after number ${i}, ${hex}`).toEqual([...ids].sort())
      if (!ids.includes(txid(tx))) continue
      waiting = [...waiting, ...openOutputs(tx)].filter(({ txid: id }) => ids.includes(id)).slice(-12)
      const [theirs, mine] = await both('getmempoolentry', [txid(tx)])
      expect(mine).toEqual({ ...theirs, result: { ...(theirs as { result: object }).result, time: expect.any(Number) } })
    }
    const fees = ({ size, bytes, total_fee, mempoolminfee }: Record<string, unknown>) => ({
      size,
      bytes,
      total_fee,
      mempoolminfee,
    })
    expect(fees(await ours.call('getmempoolinfo'))).toEqual(fees(await core.call('getmempoolinfo')))
    await core.mine(1)
    const hex = await core.call<string>('getblock', await core.bestHash(), 0)
    expect(await ours.call('submitblock', hex)).toBeNull()
    expect(await stateOf(ours)).toEqual(await stateOf(core))
  })

  it('say the same of every block and transaction', async () => {
    const top = await core.height()
    const compare = async (method: string, ...params: readonly unknown[]): Promise<void> => {
      const [theirs, mine] = await both(method, params)
      expect(mine, `${method} ${JSON.stringify(params).slice(0, 200)}`).toEqual(theirs)
    }
    for (const height of [0, 1, 150, 259, 261, top - 1, top]) {
      const hash = await core.call<string>('getblockhash', height)
      await compare('getblockhash', height)
      for (const verbosity of [0, 1, 2, 3]) await compare('getblock', hash, verbosity)
      for (const verbose of [true, false]) await compare('getblockheader', hash, verbose)
      await compare('getblockstats', height)
      await compare('getblockfilter', hash)
      const { tx } = await core.call<{ tx: { txid: string; hex: string; vout: unknown[] }[] }>('getblock', hash, 2)
      for (const { txid: id, hex, vout } of tx) {
        for (const verbosity of [0, 1, 2]) await compare('getrawtransaction', id, verbosity)
        await compare('decoderawtransaction', hex)
        await compare('gettxoutproof', [id])
        for (let n = 0; n <= Math.min(vout.length, 5); n++) await compare('gettxout', id, n)
      }
    }
    type Tip = { readonly height: number; readonly hash: string; readonly status: string }
    const tips = async (rpc: LedgerRpc): Promise<Tip[]> =>
      (await rpc.call<Tip[]>('getchaintips'))
        // A block whose witness was changed leaves its header behind in bitcoind, and of equal heights any may come first.
        .filter(({ status }) => status !== 'headers-only')
        .sort((a, b) => b.height - a.height || (a.hash < b.hash ? -1 : 1))
    expect(await tips(ours)).toEqual(await tips(core))
    await compare('getdifficulty')
    await compare('getnetworkhashps')
    await compare('getblockhash', top + 1)
    for (const method of ['getblock', 'getblockheader', 'getblockfilter']) await compare(method, '11'.repeat(32))
    await compare('getrawtransaction', '11'.repeat(32))
    await compare('getmempoolentry', '11'.repeat(32))
  })
})
