import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { connect } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLedger, type RunningLedger } from './daemon.ts'
import type { LedgerConfigInput } from './config.ts'

/** From Bitcoin Core's rpc_users.py: the password of rt, hashed. */
const RT = 'rt:93648e835a54c573682c2eb19f882535$7681e9c5b74bdd85e78166031d2058e1069b3ed7ed967c93fc63abba06f31144'
const RT_PASSWORD = 'cA773lm788buwYe4g4WT+05pKyNruVKjQ25x3n0DQcM='

let root: string
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'leyden-rpc-server-'))
})
afterAll(() => rmSync(root, { recursive: true }))

const started: RunningLedger[] = []
const start = async (name: string, config: Omit<LedgerConfigInput, 'datadir'> = {}): Promise<RunningLedger> => {
  const ledger = await startLedger({ datadir: join(root, name), rpcPort: 0, linkPort: 0, p2pPort: 0, ...config })
  started.push(ledger)
  return ledger
}
afterAll(() => Promise.all(started.map((ledger) => ledger.stop())))

const post = (ledger: RunningLedger, body: string, credentials = ledger.credentials): Promise<Response> =>
  fetch(ledger.rpcUrl, { method: 'POST', body, headers: { authorization: `Basic ${btoa(credentials)}` } })
const call = async (ledger: RunningLedger, method: string, ...params: readonly unknown[]): Promise<unknown> =>
  ((await (await post(ledger, JSON.stringify({ method, params }))).json()) as { result: unknown }).result

describe('users', () => {
  it('have hashed passwords and whitelists', async () => {
    const ledger = await start('users', { rpcAuth: [RT], rpcWhitelist: ['rt:uptime,getblockcount', '__cookie__:stop'] })
    const status = async (method: string, credentials?: string): Promise<number> =>
      (await post(ledger, JSON.stringify({ method }), credentials)).status
    expect(await status('getblockcount', `rt:${RT_PASSWORD}`)).toBe(200)
    expect(await status('getbestblockhash', `rt:${RT_PASSWORD}`)).toBe(403)
    expect(await status('getblockcount')).toBe(403)
    expect(await status('getblockcount', 'rt:x')).toBe(401)
    const batch = JSON.stringify([{ method: 'uptime' }, { method: 'getbestblockhash' }])
    expect((await post(ledger, batch, `rt:${RT_PASSWORD}`)).status).toBe(403)
  })

  it('find the cookie where they are told, readable as told', async () => {
    const file = join(root, 'cookie')
    const ledger = await start('told', { rpcCookieFile: file, rpcCookiePerms: 'group' })
    expect(readFileSync(file, 'utf8')).toBe(ledger.credentials)
    await expect(start('nowhere', { rpcCookieFile: join(root, 'no', 'cookie') })).rejects.toThrow('cannot write the cookie')
  })
})

describe('the queue of calls', () => {
  it('runs so many at once, lets so many wait and refuses the rest; those under way are answered at the end', async () => {
    const ledger = await start('queue', { rpcThreads: 1, rpcWorkQueue: 1 })
    const waiting = [call(ledger, 'waitfornewblock'), call(ledger, 'getblockcount')]
    const refused = async (): Promise<Response> => {
      for (;;) {
        const answer = await post(ledger, '{"method":"getblockcount"}')
        if (answer.status === 503) return answer
      }
    }
    expect(await (await refused()).text()).toBe('Work queue depth exceeded')
    await ledger.stop()
    expect(await Promise.all(waiting)).toEqual([{ hash: expect.any(String), height: 0 }, 0])
  })

  it('listens on several addresses', async () => {
    const ledger = await start('two', { rpcBind: ['127.0.0.1', '127.0.0.2:0'] })
    expect(await call(ledger, 'getblockcount')).toBe(0)
  })
})

describe('what is not HTTP', () => {
  const raw = (ledger: RunningLedger, text: string): Promise<string> =>
    new Promise((resolve, reject) => {
      const socket = connect(ledger.rpcPort, '127.0.0.1', () => socket.write(text))
      let heard = ''
      socket.on('data', (chunk: Buffer) => (heard += chunk.toString()))
      socket.on('close', () => resolve(heard))
      socket.on('error', reject)
    })

  it('is refused, and so are long headers and long bodies', async () => {
    const ledger = await start('raw')
    expect(await raw(ledger, 'hello\r\n\r\n')).toContain('400 Bad Request')
    expect(await raw(ledger, `GET /${'x'.repeat(10_000)} HTTP/1.1\r\nHost: a\r\n\r\n`)).toContain('400 Bad Request')
    const head = `POST / HTTP/1.1\r\nHost: a\r\nAuthorization: Basic ${btoa(ledger.credentials)}\r\nContent-Length: 99999999\r\n\r\n`
    expect(await raw(ledger, head)).toContain('413')
  })
})

describe('calls by name', () => {
  it('take leading arguments as args, and refuse what stands twice', async () => {
    const ledger = await start('names')
    const ask = async (params: string): Promise<unknown> => {
      const answer = (await (await post(ledger, `{"method":"echo","params":${params}}`)).json()) as {
        result: unknown
        error: { message: string } | null
      }
      return answer.error?.message ?? answer.result
    }
    expect(await ask('{"args":[1,2],"arg3":4}')).toEqual([1, 2, null, 4])
    expect(await ask('{"arg1":2}')).toEqual([null, 2])
    expect(await ask('{"args":[1,2],"arg1":2}')).toBe('Parameter arg1 specified twice both as positional and named argument')
    expect(await ask('{"arg1":2,"arg1":3}')).toBe('Parameter arg1 specified multiple times')
    expect(await ask('{"colour":2}')).toBe('Unknown named parameter colour')
    expect(await ask('[0,1,2,3,4,5,6,7,8,9,10]')).toMatch(/^echo \(/)
  })
})

describe('commands', () => {
  it('are run at the start, for each new block, and at the end', async () => {
    const file = (name: string): string => join(root, name)
    const ledger = await start('commands', {
      startupNotify: `echo > ${file('began')}`,
      blockNotify: `echo > ${file('block-%s')}`,
      shutdownNotify: `echo > ${file('ended')}`,
    })
    const hashes = (await call(ledger, 'generatetodescriptor', 2, 'raw(51)')) as string[]
    const names = ['began', ...hashes.map((hash) => `block-${hash}`)]
    while (!names.every((name) => existsSync(file(name)))) await new Promise((resolve) => setTimeout(resolve, 10))
    await ledger.stop()
    expect(existsSync(file('ended'))).toBe(true)
  })
})
