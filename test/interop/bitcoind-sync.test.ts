/**
 * Two of our ledgers and a bitcoind in a row of peers keep one chain and one mempool: whoever mines, whoever is given a transaction,
 * however deep the chain is turned over, and when one of ours is killed. Compared by tip, coins and mempool of all three.
 */
import { bytesToHex } from '@leyden/codec'
import { encodeAddress, encodeTx, networks, OP, p2wshOf, Sat, txid, Txid, type Tx } from '@leyden/bitcoin'
import { type LedgerRpc, NOBODY, waitFor } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { bitcoindInstalled, inSync, type Pair, startPair, stateOf } from './bitcoind.ts'

const TRUE_SCRIPT = Uint8Array.of(OP.OP_1)
const ANYONE = p2wshOf(TRUE_SCRIPT)
/** Another address, so that two branches differ. */
const ELSEWHERE = encodeAddress(p2wshOf(Uint8Array.of(OP.OP_2)), networks.regtest) as string

/** Spends an output that anyone may spend. */
const spend = (id: string, vout: number, amounts: readonly bigint[], sequence = 0xffff_fffd): Tx => ({
  version: 2,
  inputs: [{ outpoint: { txid: Txid(id), vout }, scriptSig: new Uint8Array(0), sequence, witness: [TRUE_SCRIPT] }],
  outputs: amounts.map((amount) => ({ value: Sat(amount), scriptPubKey: ANYONE })),
  lockTime: 0,
})
const hexOf = (tx: Tx): string => bytesToHex(encodeTx(tx))

describe.skipIf(!bitcoindInstalled)('our ledgers and bitcoind', () => {
  let pair: Pair
  let core: LedgerRpc
  let first: LedgerRpc
  let second: LedgerRpc
  let all: LedgerRpc[]
  const join = async (): Promise<void> => {
    await first.call('addnode', pair.core.p2p, 'onetry')
    await pair.core.rpc.call('addnode', pair.ours[1]!.p2p, 'onetry')
    await waitFor('peers', async () => (await core.call<number>('getconnectioncount')) === 2)
  }
  const agree = async (hash: string, withMempool = true): Promise<void> => {
    await inSync(all, hash, 120_000)
    const [a, b, c] = await Promise.all(all.map((rpc) => stateOf(rpc, withMempool)))
    expect(b).toEqual(a)
    expect(c).toEqual(a)
  }
  const mined = async (rpc: LedgerRpc, count: number, address?: string): Promise<string> =>
    (await rpc.mine(count, address)).at(-1) as string
  const coinbaseAt = async (height: number): Promise<string> => {
    const block = await core.call<{ tx: string[] }>('getblock', await core.call('getblockhash', height))
    return block.tx[0] as string
  }

  beforeAll(async () => {
    pair = await startPair(2)
    core = pair.core.rpc
    first = pair.ours[0]!.rpc
    second = pair.ours[1]!.rpc
    all = [core, first, second]
    await join()
  })
  afterAll(() => pair.close())

  it('follow whoever mines', async () => {
    await agree(await mined(first, 101))
    await agree(await mined(core, 20))
    await agree(await mined(second, 20))
    expect(await core.height()).toBe(141)
  })

  it('tell each other transactions, chains of them, and their replacements', async () => {
    const coin = await coinbaseAt(1)
    const parent = spend(coin, 0, [4_000_000_000n, 999_990_000n])
    const child = spend(txid(parent), 0, [3_999_990_000n])
    await first.call('sendrawtransaction', hexOf(parent))
    await waitFor('the parent at the far end', () => second.call('getmempoolentry', txid(parent)).then(() => true))
    await second.call('sendrawtransaction', hexOf(child))
    await waitFor('the child at the near end', () => first.call('getmempoolentry', txid(child)).then(() => true))
    const other = spend(await coinbaseAt(2), 0, [4_999_990_000n])
    await core.call('sendrawtransaction', hexOf(other))
    for (const rpc of all) await waitFor('the other', () => rpc.call('getmempoolentry', txid(other)).then(() => true))
    const dearer = spend(await coinbaseAt(2), 0, [4_999_900_000n])
    await second.call('sendrawtransaction', hexOf(dearer))
    for (const rpc of all)
      await waitFor('the replacement everywhere', async () => {
        const ids = await rpc.mempool()
        return ids.includes(txid(dearer)) && !ids.includes(txid(other))
      })
    await agree(await mined(core, 1))
    expect(await core.mempool()).toEqual([])
  })

  let unspent = 3
  for (const depth of [1, 6, 120]) {
    it(`turn over ${depth} blocks that bitcoind had, and that we had`, async () => {
      for (const rpc of [core, first]) {
        const height = await rpc.height()
        const spent = spend(await coinbaseAt(unspent++), 0, [1_000_000_000n, 3_999_990_000n])
        await rpc.call('sendrawtransaction', hexOf(spent))
        await agree(await mined(rpc, depth))
        const fork = await rpc.call<string>('getblockhash', height + 1)
        await rpc.call('invalidateblock', fork)
        expect(await rpc.height()).toBe(height)
        const tip = await mined(rpc, depth + 1, ELSEWHERE)
        // Whoever calls a deep block invalid by hand forgets its transactions (bitcoind), or does not (we).
        await agree(tip, depth <= 10)
        expect(await second.call('getblockhash', height + 1)).not.toBe(fork)
        // All three know the way that was left, those that were not told to as a fork only.
        const tips = await second.call<{ hash: string; status: string }[]>('getchaintips')
        expect(tips.filter(({ status }) => status === 'active')).toMatchObject([{ hash: tip }])
        await rpc.call('reconsiderblock', fork)
        await agree(await mined(rpc, 1), depth <= 10)
      }
    })
  }

  it('catch up after one of ours was killed in the midst of blocks', async () => {
    const { daemon } = pair.ours[0]!
    const mining = mined(core, 150)
    await waitFor('some blocks', async () => (await core.height()) > 20)
    await daemon.kill()
    const tip = await mining
    await daemon.start()
    await first.call('addnode', pair.core.p2p, 'onetry')
    await agree(tip)
    await daemon.stop()
    const later = await mined(second, 5)
    await daemon.start()
    await first.call('addnode', pair.core.p2p, 'onetry')
    await agree(later)
    expect(await first.height()).toBe(await core.height())
  })
})

describe.skipIf(!bitcoindInstalled)('a chain of more than a thousand blocks', () => {
  it('is fetched whole by each from the other', async () => {
    for (const [from, to] of [
      ['core', 'ours'],
      ['ours', 'core'],
    ] as const) {
      const pair = await startPair(1)
      try {
        const nodes = { core: pair.core.rpc, ours: pair.ours[0]!.rpc }
        const tip = (await nodes[from].mine(1200, NOBODY)).at(-1) as string
        await nodes.core.call('addnode', pair.ours[0]!.p2p, 'onetry')
        await inSync([nodes[to]], tip, 120_000)
        expect(await stateOf(nodes.ours)).toEqual(await stateOf(nodes.core))
      } finally {
        await pair.close()
      }
    }
  })
})
