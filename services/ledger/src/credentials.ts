/** Who may call: `user:password` pairs, given by HTTP basic authentication, compared in constant time. */
import { utf8Encode } from '@leyden/codec'
import { equalConstantTime, sha256 } from '@leyden/crypto'

/** `user:password` each. */
export type Credentials = readonly string[]

/** Whether the header of a request carries one of the pairs. */
export const isAuthorized = (header: string | undefined, credentials: Credentials): boolean => {
  const encoded = /^Basic ([A-Za-z0-9+/=]+)$/.exec(header ?? '')?.[1]
  if (encoded === undefined) return false
  let given: Uint8Array
  try {
    given = sha256(Uint8Array.from(atob(encoded), (character) => character.charCodeAt(0)))
  } catch {
    return false
  }
  let found = false
  for (const pair of credentials) if (equalConstantTime(given, sha256(utf8Encode(pair)))) found = true
  return found
}
