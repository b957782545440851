/** Whose data a store holds: channels cannot be used with another seed, on another network, or on another ledger of the same name. */
import { ledgerId, type Network } from '@leyden/bitcoin'
import type { NodeId } from '@leyden/lnwire'
import { recordKind } from '@leyden/runtime'

export type Identity = { readonly nodeId: NodeId; readonly network: string; readonly ledger?: string }

/**
 * Version 2 says the same as version 1, and that payments may rest: a program that does not know that would not see them, and could pay
 * one twice. It refuses a store with a version that it does not know.
 */
export const identityKind = recordKind<Identity>('identity', 2, { migrate: (_, old) => old as Identity })

export const identityOf = (nodeId: NodeId, network: Network): Identity => ({
  nodeId,
  network: network.name,
  ledger: ledgerId(network),
})

/** Throws, saying what to do, unless what the store says of itself (nothing, when it is new) is this node's. */
export const checkIdentity = (held: Identity | undefined, { nodeId, network, ledger }: Identity): void => {
  if (held === undefined) return
  if (held.ledger !== undefined && held.network === network && held.ledger !== ledger)
    throw new Error(`the data are of another ledger named ${network}: choose another data directory, or its network file`)
  if (held.network !== network)
    throw new Error(`the data are of ${held.network}, the node was started for ${network}: choose another data directory`)
  if (held.nodeId !== nodeId)
    throw new Error(
      `the data are of node ${held.nodeId}, the seed is of node ${nodeId}: put the seed back that belongs to these data`,
    )
}
