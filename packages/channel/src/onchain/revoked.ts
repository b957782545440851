/**
 * Outputs of a commitment that the remote has revoked: all of them are ours. BOLT 5 § Revoked Transaction Close Handling.
 * We keep no copy of it. Its scripts follow from the secret of its number and from the HTLCs that were in remote commitments then:
 * rows of the past and those still in the channel. Each output is claimed alone, so nobody can pin them all, and one that is spent
 * under our hands spoils no other claim (S6).
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { p2wshOf, txid, type BlockHeight, type Tx } from '@leyden/bitcoin'
import type { Channel, PastHtlc } from '../state.ts'
import { commitmentKeys } from '../transactions/keys.ts'
import { offeredHtlcScript, receivedHtlcScript, toLocalScript } from '../transactions/scripts.ts'
import { toRemoteOutputs } from './remote.ts'
import type { HtlcRef, OnchainOutput } from './state.ts'

const keyOf = ({ offeredBy, id }: HtlcRef): string => `${offeredBy}/${id}`

/** HTLCs that may have been in remote commitment `number`. More than were is harmless: outputs are matched by script and value. */
const candidates = (channel: Channel, number: number, past: readonly PastHtlc[]): HtlcRef[] => {
  const live = channel.htlcs.filter(
    ({ inRemoteFrom, outOfRemoteFrom }) =>
      inRemoteFrom !== undefined && inRemoteFrom <= number && (outOfRemoteFrom === undefined || number < outOfRemoteFrom),
  )
  const gone = past.filter(({ first, last }) => first <= number && number <= last)
  const all = new Map<string, HtlcRef>()
  for (const { offeredBy, id, amountMsat, paymentHash, cltvExpiry } of [...gone, ...live]) {
    const ref = { offeredBy, id, amountMsat, paymentHash, cltvExpiry }
    all.set(keyOf(ref), ref)
  }
  return [...all.values()].sort((a, b) => a.cltvExpiry - b.cltvExpiry || (a.id < b.id ? -1 : 1))
}

/** What a revoked commitment holds: everything but the anchors. */
export const revokedOutputs = (
  channel: Channel,
  revoked: { readonly tx: Tx; readonly number: number; readonly perCommitmentPoint: Uint8Array },
  past: readonly PastHtlc[],
  createdAt: BlockHeight,
): OnchainOutput[] => {
  const { tx, number, perCommitmentPoint } = revoked
  const { format } = channel.type
  const keys = commitmentKeys(channel.remote, channel.local, perCommitmentPoint)
  const toLocal = toLocalScript(keys, channel.remote.toSelfDelayBlocks)
  const toLocalKey = bytesToHex(p2wshOf(toLocal))
  const waiting = new Map<string, { readonly htlc: HtlcRef; readonly witnessScript: Uint8Array }[]>()
  for (const htlc of candidates(channel, number, past)) {
    const hash = hexToBytes(htlc.paymentHash)
    const witnessScript =
      htlc.offeredBy === 'remote'
        ? offeredHtlcScript(format, keys, hash)
        : receivedHtlcScript(format, keys, hash, htlc.cltvExpiry)
    const key = `${bytesToHex(p2wshOf(witnessScript))}/${htlc.amountMsat / 1000n}`
    waiting.set(key, [...(waiting.get(key) ?? []), { htlc, witnessScript }])
  }
  const outputs = toRemoteOutputs(channel, tx, createdAt)
  for (const [vout, { value: valueSat, scriptPubKey }] of tx.outputs.entries()) {
    const script = bytesToHex(scriptPubKey)
    const common = { outpoint: { txid: txid(tx), vout }, valueSat, createdAt }
    if (script === toLocalKey) {
      outputs.push({ ...common, witnessScript: toLocal, path: { by: 'revocation', of: 'toLocal', secondScript: toLocal } })
      continue
    }
    const matched = waiting.get(`${script}/${valueSat}`)?.shift()
    if (matched !== undefined)
      outputs.push({ ...common, ...matched, path: { by: 'revocation', of: 'htlc', secondScript: toLocal } })
  }
  return outputs
}
