/**
 * The ledger's JSON-RPC, as bitcoind speaks it, with the cookie of its data directory. The methods that a network needs to be set up
 * and driven; `call` reaches every other.
 */
import { existsSync, readFileSync } from 'node:fs'
import { encodeAddress, networks, OP, p2wshOf, type Network } from '@leyden/bitcoin'

/** An error that the ledger answered. `code` is bitcoind's. */
export class RpcError extends Error {
  override name = 'RpcError'
  readonly code: number
  constructor(method: string, code: number, message: string) {
    super(`${method}: ${message}`)
    this.code = code
  }
}

/** An address of the script OP_TRUE: mined coins that are nobody's. */
const nobodyOn = (network: Network): string => encodeAddress(p2wshOf(Uint8Array.of(OP.OP_1)), network) as string
/** The same on regtest. */
export const NOBODY: string = nobodyOn(networks.regtest)

export interface LedgerRpc {
  readonly url: string
  call<T = unknown>(method: string, ...params: readonly unknown[]): Promise<T>
  height(): Promise<number>
  bestHash(): Promise<string>
  /** Mines blocks with what is in the mempool; the reward goes to `address`. */
  mine(blocks: number, address?: string): Promise<readonly string[]>
  mempool(): Promise<readonly string[]>
  /** `http://127.0.0.1:18443 with user and password` for other programs. */
  credentialsUrl(): string
}

export const createLedgerRpc = (url: string, cookieFile: string, network: Network = networks.regtest): LedgerRpc => {
  const cookie = (): string => {
    if (!existsSync(cookieFile)) throw new Error(`no cookie at ${cookieFile}: is the ledger running?`)
    return readFileSync(cookieFile, 'utf8').trim()
  }
  const call = async <T>(method: string, ...params: readonly unknown[]): Promise<T> => {
    const response = await fetch(url, {
      method: 'POST',
      headers: { authorization: `Basic ${btoa(cookie())}`, 'content-type': 'application/json' },
      body: JSON.stringify({ jsonrpc: '2.0', id: 1, method, params }),
    })
    if (response.status === 401)
      throw new Error(`the ledger at ${url} refuses the cookie of ${cookieFile}: it belongs to another ledger`)
    const answer = (await response.json()) as { result?: T; error?: { code: number; message: string } | null }
    if (answer.error !== undefined && answer.error !== null) throw new RpcError(method, answer.error.code, answer.error.message)
    return answer.result as T
  }
  return {
    url,
    call,
    height: () => call('getblockcount'),
    bestHash: () => call('getbestblockhash'),
    mine: (blocks, address = nobodyOn(network)) => call('generatetoaddress', blocks, address),
    mempool: () => call('getrawmempool'),
    credentialsUrl: () => {
      const [user, password] = cookie().split(':', 2) as [string, string]
      const at = new URL(url)
      at.username = user
      at.password = password
      return at.href
    },
  }
}
