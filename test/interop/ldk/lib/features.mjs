// BOLT 9 feature bits (even = required, odd = optional), for printing what a peer advertises.
export const BOLT9 = {
  0: 'option_data_loss_protect',
  2: 'initial_routing_sync',
  4: 'option_upfront_shutdown_script',
  6: 'gossip_queries',
  8: 'var_onion_optin',
  10: 'gossip_queries_ex',
  12: 'option_static_remotekey',
  14: 'payment_secret',
  16: 'basic_mpp',
  18: 'option_support_large_channel',
  20: 'option_anchor_outputs (deprecated)',
  22: 'option_anchors (zero_fee_htlc_tx)',
  24: 'option_route_blinding',
  26: 'option_shutdown_anysegwit',
  28: 'option_dual_fund',
  30: 'option_taproot (draft)',
  34: 'option_quiesce',
  36: 'option_attribution_data',
  38: 'option_onion_messages',
  42: 'option_provide_storage',
  44: 'option_channel_type',
  46: 'option_scid_alias',
  48: 'option_payment_metadata',
  50: 'option_zeroconf',
  54: 'keysend (bLIP-3)',
  56: 'trampoline (draft)',
  60: 'option_simple_close',
  62: 'option_splice',
}
/** `leFlags`: little-endian feature bytes, as LDK's `le_flags()` gives them. */
export function decodeFeatures(leFlags) {
  const out = []
  for (let bit = 0; bit < leFlags.length * 8; bit++) {
    if (leFlags[bit >> 3] & (1 << (bit & 7))) out.push({ bit, name: BOLT9[bit & ~1] ?? 'unknown', required: bit % 2 === 0 })
  }
  return out
}
export const featureString = (leFlags) =>
  decodeFeatures(leFlags)
    .map((f) => `${f.bit}:${f.name}${f.required ? '!' : ''}`)
    .join(' ')
