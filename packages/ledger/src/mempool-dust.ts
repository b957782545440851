/**
 * Ephemeral dust: a transaction that pays nothing may have one dust output, if whatever spends from it in the mempool spends that
 * output too. So dust never reaches the set of unspent outputs. Bitcoin Core 29 policy/ephemeral_policy.cpp.
 */
import { outpointKey, txid, type Tx, type Txid } from '@leyden/bitcoin'
import type { Mempool } from './mempool.ts'
import { isDust } from './policy.ts'

export const hasDust = ({ outputs }: Tx, dustFeeratePerKvb: number): boolean =>
  outputs.some((output) => isDust(output, dustFeeratePerKvb))

/** The first of these, parents before children, that leaves dust of a parent in the pool or among them; undefined for none. */
export const findUnspentDust = (pool: Mempool, transactions: readonly Tx[]): Tx | undefined => {
  const { dustFeeratePerKvb } = pool.policy
  const own = transactions.length > 1 ? new Map(transactions.map((tx) => [txid(tx), tx])) : new Map<Txid, Tx>()
  return transactions.find((tx) => {
    const spent = new Set(tx.inputs.map(({ outpoint }) => outpointKey(outpoint)))
    return tx.inputs.some(({ outpoint: { txid: parentId } }) => {
      const parent = own.get(parentId) ?? pool.entries.get(parentId)?.tx
      return (
        parent !== undefined &&
        parent.outputs.some(
          (output, vout) => isDust(output, dustFeeratePerKvb) && !spent.has(outpointKey({ txid: parentId, vout })),
        )
      )
    })
  })
}
