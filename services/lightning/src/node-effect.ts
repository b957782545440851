/**
 * What the node does to the world, released by the drive after the commit that implies it, in order.
 */
import type { Tx } from '@leyden/bitcoin'
import type { Message, NodeId } from '@leyden/lnwire'

export type NodeEffect =
  /** Over this connection and no later one: a channel that has been cut off says channel_reestablish first. */
  | {
      readonly to: 'peer'
      readonly type: 'send'
      readonly nodeId: NodeId
      readonly session: number | undefined
      readonly message: Message
    }
  | { readonly to: 'peer'; readonly type: 'sendRaw'; readonly nodeId: NodeId; readonly raw: Uint8Array }
  | { readonly to: 'peer'; readonly type: 'disconnect'; readonly nodeId: NodeId; readonly session: number | undefined }
  /** One transaction, or parents and child as a package. `label` is for the log. */
  | { readonly to: 'chain'; readonly type: 'broadcast'; readonly transactions: readonly Tx[]; readonly label: string }
