/**
 * Who may call: `user:password` pairs and users with a hashed password (bitcoind's `rpcauth`), given by HTTP basic authentication, compared
 * in constant time. Which calls a user may make is bitcoind's `rpcwhitelist`.
 */
import { bytesToHex, utf8Encode } from '@leyden/codec'
import { equalConstantTime, hmacSha256, sha256 } from '@leyden/crypto'

/** HMAC-SHA256 of the password under the salt, in hex. */
export type HashedUser = { readonly user: string; readonly salt: string; readonly hash: string }

export type Credentials = {
  /** `user:password` each. */
  readonly pairs: readonly string[]
  readonly hashed: readonly HashedUser[]
}

/** `user:salt$hash`; undefined when it is something else. */
export const parseHashedUser = (text: string): HashedUser | undefined => {
  const match = /^([^:]*):([^:$]*)\$([^:$]*)$/.exec(text)
  return match === null ? undefined : { user: match[1] as string, salt: match[2] as string, hash: match[3] as string }
}

const equalText = (a: string, b: string): boolean => equalConstantTime(sha256(utf8Encode(a)), sha256(utf8Encode(b)))

/** The user whose password the header of a request carries. */
export const authorizedUser = (header: string | undefined, { pairs, hashed }: Credentials): string | undefined => {
  const encoded = /^Basic\s+([A-Za-z0-9+/]+={0,2})\s*$/.exec(header ?? '')?.[1]
  if (encoded === undefined) return undefined
  const given = Buffer.from(encoded, 'base64').toString('utf8')
  const colon = given.indexOf(':')
  if (colon < 0) return undefined
  const [user, password] = [given.slice(0, colon), given.slice(colon + 1)]
  let found = false
  for (const pair of pairs) if (equalText(given, pair)) found = true
  for (const one of hashed) {
    if (!equalText(user, one.user)) continue
    if (equalText(bytesToHex(hmacSha256(utf8Encode(one.salt), utf8Encode(password))), one.hash)) found = true
  }
  return found ? user : undefined
}

/** Which calls each user may make; undefined for all. */
export type Whitelist = (user: string) => ReadonlySet<string> | undefined

const NOTHING: ReadonlySet<string> = new Set()

/**
 * From `user:call,call` texts; several for one user leave what all of them name. Users without one may call nothing when `strict`,
 * by default when there is any whitelist.
 */
export const whitelistOf = (texts: readonly string[], strict = texts.length > 0): Whitelist => {
  const lists = new Map<string, ReadonlySet<string>>()
  for (const text of texts) {
    const colon = text.indexOf(':')
    const user = colon < 0 ? text : text.slice(0, colon)
    const before = lists.get(user)
    if (colon < 0) {
      lists.set(user, before ?? NOTHING)
      continue
    }
    const calls = text.slice(colon + 1).split(/[, ]/)
    lists.set(user, new Set(before === undefined ? calls : calls.filter((call) => before.has(call))))
  }
  return (user) => lists.get(user) ?? (strict ? NOTHING : undefined)
}
