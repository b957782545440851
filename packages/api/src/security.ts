/**
 * Who may call: a bearer token, and a Host and Origin that are ours (DNS rebinding). No CORS.
 */
import type { MiddlewareHandler } from 'hono'
import { badField, Problem } from './problem.ts'
import type { WalletService } from './service.ts'

/** The lower-case hostname of `host[:port]`, IPv6 in brackets; '' for anything else. */
const hostname = (host: string): string => {
  if (!/^(\[[0-9a-f:.]+\]|[^\s/?#@\\:[\]]+)(:\d{1,5})?$/i.test(host)) return ''
  try {
    return new URL(`http://${host}`).hostname
  } catch {
    return ''
  }
}

/** Refuses a Host or Origin outside `allowed` hostnames (loopback is always in). An opaque origin (`null`) is refused too. */
export const sameHost = (allowed: readonly string[]): MiddlewareHandler => {
  const bracketed = allowed.map((name) => (name.includes(':') && !name.startsWith('[') ? `[${name}]` : name))
  const names = new Set(['127.0.0.1', 'localhost', '[::1]', ...bracketed.map(hostname).filter((name) => name !== '')])
  /** The last Host that was ours: nearly every request has the same. */
  let seen: string | undefined
  return async (c, next) => {
    const host = c.req.header('host')
    if (host !== undefined && host !== seen) {
      if (!names.has(hostname(host)))
        throw badField(
          'header/host',
          'unknown: call the address that the node listens on, or allow the name in its configuration',
        )
      seen = host
    }
    const origin = c.req.header('origin')
    if (origin !== undefined && !names.has(hostname(/^https?:\/\/(.*)$/i.exec(origin)?.[1] ?? '')))
      throw badField('header/origin', 'requests of pages from elsewhere are refused')
    await next()
  }
}

/** Asks for `Authorization: Bearer <token>`. */
export const bearer =
  (service: Pick<WalletService, 'authenticate'>): MiddlewareHandler =>
  async (c, next) => {
    const given = /^Bearer +([!-~]{1,200})$/i.exec(c.req.header('authorization') ?? '')?.[1]
    if (given === undefined)
      throw new Problem(
        'unauthenticated',
        'send the header "Authorization: Bearer TOKEN"; the local admin token is in api.cookie in the data directory',
      )
    if (!service.authenticate(given))
      throw new Problem('unauthenticated', 'the token is not valid; api.cookie in the data directory is new at each start')
    await next()
  }
