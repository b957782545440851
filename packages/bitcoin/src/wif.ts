/** Private keys as text, Wallet Import Format: base58check of prefix, 32 bytes, and 01 when the public key is compressed. */
import { createBase58check } from '@scure/base'
import { isValidSecret, sha256 } from '@leyden/crypto'
import { networks, type Network } from './networks.ts'

const base58check = createBase58check(sha256)

export type WifProblem = { readonly problem: 'wrong_network' | 'invalid'; readonly detail: string }

export const encodeWif = (secret: Uint8Array, network: Network, compressed = true): string => {
  if (!isValidSecret(secret)) throw new RangeError('not a secret key')
  return base58check.encode(Uint8Array.of(network.wifPrefix, ...secret, ...(compressed ? [1] : [])))
}

/** The secret of a text of this network, or why it is none. The text is never repeated in the answer. Never throws. */
export const decodeWif = (text: string, network: Network): { secret: Uint8Array; compressed: boolean } | WifProblem => {
  let bytes: Uint8Array | undefined
  try {
    bytes = text.length > 60 ? undefined : base58check.decode(text)
  } catch {
    bytes = undefined
  }
  const compressed = bytes?.length === 34 && bytes[33] === 1
  if (bytes === undefined || !(compressed || bytes.length === 33)) return { problem: 'invalid', detail: 'not a private key' }
  const secret = bytes.slice(1, 33)
  if (bytes[0] !== network.wifPrefix) {
    const known = Object.values<Network>(networks).some((other) => other.wifPrefix === bytes[0])
    return known
      ? { problem: 'wrong_network', detail: `a private key of another network, not of ${network.name}` }
      : { problem: 'invalid', detail: 'not a private key' }
  }
  return isValidSecret(secret) ? { secret, compressed } : { problem: 'invalid', detail: 'not a private key' }
}
