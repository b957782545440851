/** The command line as a process of its own. */
import { spawn } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'

const BIN = fileURLToPath(new URL('../bin/leyden.mjs', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'leyden-cli-'))

/** Runs it to its end. */
const leyden = (
  args: readonly string[],
  env: Record<string, string> = {},
): Promise<{ code: number | null; out: string; err: string }> =>
  new Promise((resolve, reject) => {
    const { LEYDEN_DATADIR: _, LEYDEN_DEVNET: __, ...inherited } = process.env
    const child = spawn(process.execPath, [BIN, ...args], {
      env: { ...inherited, NO_COLOR: '1', LEYDEN_DATADIR: directory, ...env },
    })
    let [out, err] = ['', '']
    child.stdout.on('data', (chunk: Buffer) => {
      out += chunk.toString()
    })
    child.stderr.on('data', (chunk: Buffer) => {
      err += chunk.toString()
    })
    child.on('error', reject)
    child.on('close', (code) => resolve({ code, out, err }))
  })

/** A node that notes what it is asked. */
let node: Server
let url = ''
const asked: { method: string | undefined; path: string | undefined; body: unknown; headers: Record<string, unknown> }[] = []
beforeAll(async () => {
  node = createServer((request, response) => {
    let text = ''
    request.on('data', (chunk: Buffer) => {
      text += chunk.toString()
    })
    request.on('end', () => {
      const { method, url: path, headers } = request
      asked.push({ method, path, body: text === '' ? undefined : JSON.parse(text), headers })
      const refused = path === '/v1/balance'
      response.writeHead(refused ? 503 : 200, { 'content-type': refused ? 'application/problem+json' : 'application/json' })
      response.end(JSON.stringify(refused ? { code: 'syncing', detail: 'wait for the ledger' } : { ok: true }))
    })
  })
  await new Promise<void>((resolve) => {
    node.listen(0, '127.0.0.1', resolve)
  })
  const address = node.address()
  url = `http://127.0.0.1:${typeof address === 'object' && address !== null ? address.port : 0}`
  writeFileSync(join(directory, 'api.cookie'), 'the-token\n')
  writeFileSync(join(directory, 'devnet.json'), JSON.stringify({ alice: { url, tokenFile: join(directory, 'api.cookie') } }))
})
afterAll(() => {
  node.close()
  rmSync(directory, { recursive: true, force: true })
})

describe('leyden', () => {
  it('tells its commands, and the settings of a command as one types them', async () => {
    const [all, start] = await Promise.all([leyden(['--help']), leyden(['start', '--help'])])
    expect([all.code, start.code]).toEqual([0, 0])
    for (const command of ['start', 'pay', 'invoice', 'open', 'close', 'events']) expect(all.out).toContain(command)
    for (const part of ['leyden start', '--datadir', '--listen-websocket', '--fee-base-msat', 'LEYDEN_*', 'leyden.json'])
      expect(start.out).toContain(part)
  })

  it('refuses commands, flags and numbers that it does not know, and asks the node nothing', async () => {
    const before = asked.length
    const runs = await Promise.all([
      leyden(['pya', 'x']),
      leyden(['pay', 'x', '--max-fe-msat', '5', '--node', url]),
      leyden(['pay', '--node', url]),
      leyden(['send', 'bcrt1q', '1.5', '--node', url]),
      leyden(['send', 'bcrt1q', '5', '--feerate', 'fast', '--node', url]),
      leyden(['pay', 'x', '--wait', 'long', '--node', url]),
    ])
    expect(runs.map(({ code }) => code)).toEqual([1, 2, 1, 1, 1, 1])
    expect(runs[0]?.err).toContain('Unknown command pya')
    expect(runs[1]?.err).toContain('unknown flag --max-fe-msat; see "leyden pay --help"')
    expect(runs[2]?.err).toContain('Missing required positional argument: TO')
    expect(runs[3]?.err).toBe('--amount: a whole number, without unit\n')
    expect(runs[4]?.err).toBe('--feerate: satoshi per vbyte, a number\n')
    expect(runs[5]?.err).toBe('--wait: a whole number, without unit\n')
    expect(asked.length).toBe(before)
  })

  it('asks the node, by URL or by its name in the devnet, with its token', async () => {
    const before = asked.length
    const paid = await leyden(['pay', 'lnbcrt1', '--amount-msat', '5', '--maxFeeMsat=7', '--wait', '3', '--node', url])
    expect(paid).toEqual({ code: 0, out: '{\n  "ok": true\n}\n', err: '' })
    const env = { LEYDEN_DEVNET: directory, LEYDEN_DATADIR: join(directory, 'none') }
    await leyden(['invoice', '1000', '-d', 'tea', '-n', 'alice'], env)
    expect(asked.slice(before)).toMatchObject([
      {
        method: 'POST',
        path: '/v1/payments',
        body: { to: 'lnbcrt1', amountMsat: 5, maxFeeMsat: 7 },
        headers: { authorization: 'Bearer the-token', prefer: 'wait=3', 'content-type': 'application/json' },
      },
      { method: 'POST', path: '/v1/invoices', body: { description: 'tea', amountMsat: 1000 } },
    ])
  })

  it('gives a refusal on stderr and ends with 1', async () => {
    expect(await leyden(['balance', '--node', url])).toEqual({ code: 1, out: '', err: 'syncing: wait for the ledger\n' })
  })

  it('says what is missing', async () => {
    const [nobody, noToken, noDevnet, noNode] = await Promise.all([
      leyden(['info', '--node', 'http://127.0.0.1:1']),
      leyden(['info', '--node', url], { LEYDEN_DATADIR: join(directory, 'none') }),
      leyden(['info', '--node', 'alice'], { LEYDEN_DEVNET: join(directory, 'none') }),
      leyden(['info', '--node', 'dave'], { LEYDEN_DEVNET: directory }),
    ])
    expect(nobody.err).toBe('no node answers at http://127.0.0.1:1: start it with "leyden start", or name another with --node\n')
    expect(noToken.err).toContain('is the node running?')
    expect(noDevnet.err).toContain('no devnet runs here')
    expect(noNode.err).toBe('the devnet has no node "dave"; it has alice\n')
  })

  it('does not start with a wrong configuration, and names the mistake', async () => {
    const { code, err } = await leyden(['start', '--listen', 'nowhere', '--cltv-expiry-delta', '5'])
    expect([code, err]).toEqual([
      1,
      'configuration: listen (from --listen): must be host:port\ncltvExpiryDelta (from --cltv-expiry-delta): at least 18\n',
    ])
  })
})
