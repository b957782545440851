/**
 * Configuration of a Lightning node: flags over environment (LEYDEN_*) over DATADIR/leyden.json over defaults. Checked once, at start.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { z } from 'zod'
import { defaultDatadir } from './datadir.ts'
import { parseAddress } from './tcp.ts'

const hostPort = z.string().refine(
  (text) => {
    try {
      parseAddress(text)
      return true
    } catch {
      return false
    }
  },
  { message: 'must be host:port' },
)
const split = (value: unknown): unknown =>
  typeof value === 'string'
    ? value
        .split(',')
        .map((part) => part.trim())
        .filter((part) => part !== '')
    : value
const list = z.preprocess(split, z.array(hostPort).max(16))
/** A whole number; from a flag or the environment in digits. */
const integer = (least: number, most: number) =>
  z.preprocess(
    (value) => (typeof value === 'string' && /^\d{1,15}$/.test(value) ? Number(value) : value),
    z.int({ error: 'a whole number' }).min(least, `at least ${least}`).max(most, `at most ${most}`),
  )

export const configSchema = z.strictObject({
  network: z.enum(['regtest', 'signet', 'testnet4', 'mainnet']).default('regtest'),
  /** A network of one's own, in place of `network`: the ledger's file. */
  networkFile: z.string().min(1).optional(),
  /** Up to 32 bytes of UTF-8, shown to others. */
  alias: z
    .string()
    .refine((text) => new TextEncoder().encode(text).length <= 32, { message: 'at most 32 bytes' })
    .default('leyden'),
  /** Where peers reach us over TCP. */
  listen: list.default(['127.0.0.1:9735']),
  /** Where peers reach us over WebSocket (browsers). */
  listenWebsocket: list.default([]),
  /** Addresses that node_announcement tells; none keeps the node unlisted. */
  announce: list.default([]),
  /** Where the wallet API listens. */
  api: hostPort.default('127.0.0.1:9740'),
  /** Hostnames besides loopback under which the API may be called. */
  apiHosts: z.preprocess(split, z.array(z.string()).max(16)).default([]),
  /** The ledger's link. */
  ledger: z.url({ protocol: /^wss?$/ }).default('ws://127.0.0.1:18445'),
  /** The file that holds the link's token: the ledger's `.cookie`. */
  ledgerCookie: z.string().optional(),
  logLevel: z.enum(['debug', 'info', 'warn', 'error', 'silent']).default('info'),
  /** Forwarding policy of new channels. */
  feeBaseMsat: integer(0, 10_000_000).default(1000),
  feeProportionalMillionths: integer(0, 1_000_000).default(100),
  cltvExpiryDelta: integer(18, 2016).default(80),
  /** Confirmations that a channel of any value needs. Left out: by its value, specs/security-model.md. */
  minimumDepth: integer(1, 144).optional(),
  /** The most work, in percent of all, that one attacker is thought to have. */
  attackerPercent: integer(1, 45).default(10),
  /** What a channel may lose on average to such an attacker, satoshis. */
  maxLossSat: integer(1, 1_000_000_000).default(10_000),
})
export type Config = z.output<typeof configSchema> & { readonly datadir: string }

const KEYS = Object.keys(configSchema.shape) as (keyof typeof configSchema.shape)[]
const envName = (key: string): string => `LEYDEN_${key.replaceAll(/[A-Z]/g, (letter) => `_${letter}`).toUpperCase()}`

const flagName = (key: string): string => `--${key.replaceAll(/[A-Z]/g, (letter) => `-${letter}`).toLowerCase()}`
const camelCase = (flag: string): string => flag.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())

/** A mistake in the configuration, in words for its author. */
export class ConfigError extends Error {
  override name = 'ConfigError'
}

/** The configuration in force. Throws {@link ConfigError} naming the setting, where it came from, and what is wrong. */
export const loadConfig = (
  flags: Readonly<Record<string, unknown>>,
  env: Readonly<Record<string, string | undefined>>,
): Config => {
  const datadir = resolve(typeof flags['datadir'] === 'string' ? flags['datadir'] : (env['LEYDEN_DATADIR'] ?? defaultDatadir()))
  const path = join(datadir, 'leyden.json')
  let file: Record<string, unknown> = {}
  if (existsSync(path)) {
    let content: unknown
    try {
      content = JSON.parse(readFileSync(path, 'utf8'))
    } catch (error) {
      throw new ConfigError(`${path} is not JSON: ${(error as Error).message}`)
    }
    if (typeof content !== 'object' || content === null || Array.isArray(content))
      throw new ConfigError(`${path} must hold one JSON object of settings`)
    file = content as Record<string, unknown>
    for (const name of Object.keys(file))
      if (!(KEYS as string[]).includes(name))
        throw new ConfigError(`${path}: unknown setting "${name}"; known are ${KEYS.join(', ')}`)
  }
  for (const name of Object.keys(flags))
    if (name !== '_' && name !== 'datadir' && !(KEYS as string[]).includes(camelCase(name)))
      throw new ConfigError(`unknown flag --${name}; see --help`)
  const merged: Record<string, unknown> = {}
  const source: Record<string, string> = {}
  for (const key of KEYS) {
    const candidates: [unknown, string][] = [
      [flags[key], flagName(key)],
      [env[envName(key)], envName(key)],
      [file[key], path],
    ]
    const found = candidates.find(([value]) => value !== undefined)
    if (found === undefined) continue
    merged[key] = found[0]
    source[key] = found[1]
  }
  const result = configSchema.safeParse(merged)
  if (!result.success)
    throw new ConfigError(
      result.error.issues
        .map((issue) => {
          const name = String(issue.path[0] ?? '')
          return `${name} (from ${source[name] ?? 'defaults'}): ${issue.message}`
        })
        .join('\n'),
    )
  return { ...result.data, datadir }
}
