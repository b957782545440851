/**
 * Who may call: a bearer token, and a Host and Origin that are ours (DNS rebinding). No CORS.
 */
import type { MiddlewareHandler } from 'hono'
import { Problem } from './problem.ts'
import type { WalletService } from './service.ts'

const hostname = (host: string): string => {
  try {
    return new URL(`http://${host}`).hostname
  } catch {
    return ''
  }
}

/** Refuses a Host or Origin outside `allowed` hostnames (loopback is always in). */
export const sameHost = (allowed: readonly string[]): MiddlewareHandler => {
  const names = new Set(['127.0.0.1', 'localhost', '[::1]', ...allowed])
  return async (c, next) => {
    const host = c.req.header('host')
    if (host !== undefined && !names.has(hostname(host)))
      throw new Problem('invalid_request', 'unknown Host header: call the address that the node listens on', [
        { pointer: 'header/host', message: 'not an allowed host' },
      ])
    const origin = c.req.header('origin')
    if (origin !== undefined && origin !== 'null' && !names.has(hostname(origin.replace(/^\w+:\/\//, ''))))
      throw new Problem('invalid_request', 'requests from another origin are refused', [
        { pointer: 'header/origin', message: 'not an allowed origin' },
      ])
    await next()
  }
}

/** Asks for `Authorization: Bearer <token>`. */
export const bearer =
  (service: Pick<WalletService, 'authenticate'>): MiddlewareHandler =>
  async (c, next) => {
    const given = /^Bearer ([!-~]{1,200})$/.exec(c.req.header('authorization') ?? '')?.[1]
    if (given === undefined || !service.authenticate(given)) {
      c.header('www-authenticate', 'Bearer')
      throw new Problem(
        'unauthenticated',
        given === undefined
          ? 'send the header "Authorization: Bearer TOKEN"; the local admin token is in api.cookie in the data directory'
          : 'the token is not valid; api.cookie in the data directory is new at each start',
      )
    }
    await next()
  }
