/**
 * What stays in the wallet to pay for the ends of channels (S46). A commitment of an anchor channel, and each HTLC transaction after it,
 * pays its fee from the wallet when it must be mined: without coins there, HTLCs expire unclaimed. BOLT 3 § to_local_anchor.
 * 10,000 sat for each such channel, as LND keeps: a commitment and its child, some 1,700 weight units, at 20 sat/vbyte and more.
 * LND stops at 100,000 sat, however many channels there are; but when many have to be closed at once, fees are high and each needs its
 * share. Here the reserve goes on growing above that, up to 1 % of what these channels hold: it is to protect that, and not to bind more.
 */
import type { Channel } from '@leyden/channel'

/** LND's AnchorChanReservedValue. */
const PER_CHANNEL_SAT = 10_000n
/** LND's maxAnchorChanReservedValue: here the least limit. */
const ALWAYS_ALLOWED_SAT = 100_000n
const CAPACITY_SHARE = 100n

/** In satoshi. `channels`: all that are not closed, of whatever type. */
export const reserveSat = (channels: Iterable<Pick<Channel, 'capacitySat' | 'type'>>): bigint => {
  let wanted = 0n
  let capacity = 0n
  for (const { type, capacitySat } of channels) {
    if (type.format !== 'anchors') continue
    wanted += PER_CHANNEL_SAT
    capacity += capacitySat
  }
  const share = capacity / CAPACITY_SHARE
  const limit = share > ALWAYS_ALLOWED_SAT ? share : ALWAYS_ALLOWED_SAT
  return wanted < limit ? wanted : limit
}
