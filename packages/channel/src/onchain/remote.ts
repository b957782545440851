/**
 * Outputs of the remote's current commitments. BOLT 5 § Unilateral Close Handling: Remote Commitment Transaction.
 * Nothing of ours is delayed there: to_remote is ours at once (after one block under anchors), HTLCs we spend directly.
 */
import { equalBytes } from '@leyden/codec'
import { txid, type BlockHeight, type Tx } from '@leyden/bitcoin'
import type { Channel } from '../state.ts'
import type { BuiltCommitment } from '../transactions/commitment.ts'
import { toRemoteOutputScript, toRemoteScript } from '../transactions/scripts.ts'
import { htlcRefOf } from './local.ts'
import type { OnchainOutput } from './state.ts'

/** Our balance on any commitment of theirs, also on one that we do not know: its key never changes. */
export const toRemoteOutputs = (channel: Channel, tx: Tx, createdAt: BlockHeight): OnchainOutput[] => {
  const { paymentBasepoint } = channel.local
  const scriptPubKey = toRemoteOutputScript(channel.type.format, paymentBasepoint)
  return tx.outputs.flatMap((output, vout): OnchainOutput[] =>
    equalBytes(output.scriptPubKey, scriptPubKey)
      ? [
          {
            outpoint: { txid: txid(tx), vout },
            valueSat: output.value,
            createdAt,
            witnessScript: channel.type.format === 'anchors' ? toRemoteScript(paymentBasepoint) : new Uint8Array(0),
            path: { by: 'payment' },
          },
        ]
      : [],
  )
}

/** What their commitment holds for us. */
export const remoteOutputs = (channel: Channel, built: BuiltCommitment, createdAt: BlockHeight): OnchainOutput[] => [
  ...toRemoteOutputs(channel, built.tx, createdAt),
  ...built.htlcs.map((htlc): OnchainOutput => ({
    outpoint: { txid: txid(built.tx), vout: htlc.outputIndex },
    valueSat: htlc.valueSat,
    createdAt,
    witnessScript: htlc.witnessScript,
    path: { by: 'htlcKey' },
    htlc: htlcRefOf(built, htlc),
  })),
]
