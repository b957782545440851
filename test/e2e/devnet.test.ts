/**
 * `npm start`, as a user types it: ready, the first payment, Ctrl-C, and again. And the command line against what it started.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createClient, unwrap } from '@leyden/api/client'
import { createLedgerRpc, isPortTaken, waitFor } from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { sha256 } from './world.ts'

const ROOT = new URL('../..', import.meta.url).pathname
const PORTS = [18_443, 18_444, 18_445, 9741, 9742, 9743, 9841, 9842, 9843]

interface Devnet {
  readonly child: ChildProcess
  output: string
  readonly exited: Promise<number | null>
}

interface Place {
  readonly url: string
  readonly tokenFile: string
  readonly peerUri: string
}

const findOffset = async (): Promise<number> => {
  for (;;) {
    const offset = 11_000 + Math.floor(Math.random() * 9000)
    const taken = await Promise.all(PORTS.map((port) => isPortTaken(port + offset)))
    if (!taken.includes(true)) return offset
  }
}

/** In a process group of its own, so that a signal reaches all of it, as Ctrl-C in a terminal does. */
const launch = (args: readonly string[]): Devnet => {
  const child = spawn('npm', ['start', '--silent', '--', ...args], {
    cwd: ROOT,
    detached: true,
    stdio: ['ignore', 'pipe', 'pipe'],
  })
  const devnet: Devnet = {
    child,
    output: '',
    exited: new Promise((resolve) => child.once('close', (code) => resolve(code))),
  }
  for (const stream of [child.stdout, child.stderr])
    stream?.on('data', (chunk: Buffer) => {
      devnet.output += chunk.toString()
    })
  return devnet
}

const interrupt = async (devnet: Devnet): Promise<void> => {
  const { exitCode, signalCode, pid } = devnet.child
  if (exitCode === null && signalCode === null && pid !== undefined) process.kill(-pid, 'SIGINT')
  await devnet.exited
}

const ready = (devnet: Devnet): Promise<unknown> => {
  let gone = false
  void devnet.exited.then(() => (gone = true))
  return waitFor('the line "ready"', () => /^ready$/m.test(devnet.output) || gone, { timeoutMs: 150_000 }).then(() => {
    if (gone) throw new Error(`npm start ended: ${devnet.output}`)
  })
}

describe('npm start', () => {
  const datadir = mkdtempSync(join(tmpdir(), 'leyden-devnet-'))
  let offset = 0
  let args: readonly string[] = []
  let devnet: Devnet | undefined

  const places = (): Record<'alice' | 'bob' | 'carol' | 'ledger', Place> =>
    JSON.parse(readFileSync(join(datadir, 'devnet.json'), 'utf8')) as Record<'alice' | 'bob' | 'carol' | 'ledger', Place>
  const client = (name: 'alice' | 'bob' | 'carol') => {
    const { url, tokenFile } = places()[name]
    return createClient({ baseUrl: url, token: readFileSync(tokenFile, 'utf8').trim() })
  }
  const lastLines = (name: string): string =>
    readFileSync(join(datadir, name, 'log'), 'utf8')
      .split('\n')
      .slice(-6)
      .join('\n')
  const channels = async (name: 'alice' | 'bob' | 'carol') => (await unwrap(client(name).v1.channels.$get({ query: {} }))).data
  const balances = async () =>
    Object.fromEntries(
      await Promise.all(
        (['alice', 'bob', 'carol'] as const).map(
          async (name) => [name, (await unwrap(client(name).v1.balance.$get())).channels.localMsat] as const,
        ),
      ),
    ) as Record<'alice' | 'bob' | 'carol', number>

  beforeAll(async () => {
    offset = await findOffset()
    args = ['--datadir', datadir, '--port-offset', String(offset), '--block-every', '0']
  })
  afterAll(async () => {
    if (devnet !== undefined) await interrupt(devnet)
    await waitFor('the end of it', () => !existsSync(join(datadir, 'devnet.lock')))
    if (process.env['LEYDEN_KEEP'] === undefined) rmSync(datadir, { recursive: true, force: true })
  })

  it('explains itself', async () => {
    const help = launch(['--help'])
    expect(await help.exited).toBe(0)
    for (const flag of ['--datadir', '--reset', '--blockEvery', '--portOffset', '--log']) expect(help.output).toContain(flag)
    const wrong = launch([...args, '--block-every', 'often'])
    expect(await wrong.exited).toBe(1)
    expect(wrong.output).toContain('--block-every')
  })

  it('says which port is taken, and by what it would be used', async () => {
    const server = createServer()
    await new Promise<void>((resolve) => server.listen(9741 + offset, '127.0.0.1', resolve))
    const blocked = launch(args)
    expect(await blocked.exited).toBe(1)
    expect(blocked.output).toContain(`${9741 + offset} (alice API)`)
    await new Promise((resolve) => server.close(resolve))
  })

  it('gets ready, and then alice pays carol through bob', async () => {
    devnet = launch(args)
    await ready(devnet)
    const { alice, bob, carol } = places()
    for (const place of [alice, bob, carol]) {
      expect(devnet.output).toContain(place.url)
      expect(devnet.output).toContain(place.peerUri)
      expect(statSync(place.tokenFile).mode & 0o777).toBe(0o600)
    }
    const before = await balances()
    const amountMsat = 250_000_321
    const invoice = await unwrap(client('carol').v1.invoices.$post({ json: { amountMsat, description: 'a coffee' } }))
    const payment = await unwrap(
      client('alice').v1.payments.$post({ json: { to: invoice.bolt11 } }, { headers: { prefer: 'wait=30' } }),
    )
    const feeMsat = 1000 + Math.floor((amountMsat * 100) / 1_000_000)
    expect(payment).toMatchObject({
      status: 'succeeded',
      amountMsat,
      feeMsat,
      paymentHash: invoice.paymentHash,
      description: 'a coffee',
    })
    expect(sha256(payment.preimage as string)).toBe(invoice.paymentHash)
    expect(payment.attempts.at(-1)?.hops.map(({ nodeId }) => nodeId)).toEqual(
      [bob, carol].map(({ peerUri }) => peerUri.split('@')[0]),
    )
    await waitFor('no HTLCs', async () =>
      (await Promise.all((['alice', 'bob', 'carol'] as const).map(channels))).flat().every(({ htlcs }) => htlcs.length === 0),
    )
    expect(await balances()).toEqual({
      alice: before.alice - amountMsat - feeMsat,
      bob: before.bob + feeMsat,
      carol: before.carol + amountMsat,
    })
  })

  it('refuses a second devnet on the same data', async () => {
    const second = launch(['--datadir', datadir, '--port-offset', String(offset + 20), '--reset'])
    expect(await second.exited).toBe(1)
    expect(second.output).toMatch(/another devnet \(process \d+\)/)
    expect(existsSync(join(datadir, 'alice', 'db'))).toBe(true)
  })

  it('has a command line', async () => {
    const cli = (...argv: string[]): Promise<{ code: number; out: string; error: string }> =>
      new Promise((resolve) => {
        execFile(
          process.execPath,
          [join(ROOT, 'services/lightning/bin/leyden.mjs'), ...argv],
          { env: { ...process.env, LEYDEN_DEVNET: datadir } },
          (error, out, stderr) => resolve({ code: error === null ? 0 : Number(error.code), out, error: stderr }),
        )
      })
    const json = async (...argv: string[]): Promise<Record<string, unknown>> => {
      const { code, out, error } = await cli(...argv)
      expect(error).toBe('')
      expect(code).toBe(0)
      return JSON.parse(out) as Record<string, unknown>
    }
    const help = await cli('--help')
    const commands = [...help.out.matchAll(/^\s+([a-z]+)\s{2,}\S/gm)].map((match) => match[1] as string)
    expect(commands).toEqual(
      expect.arrayContaining(['start', 'info', 'balance', 'address', 'invoice', 'pay', 'channels', 'open', 'close']),
    )
    for (let i = 0; i < commands.length; i += 4) {
      const some = commands.slice(i, i + 4)
      const helps = await Promise.all(some.map((command) => cli(command, '--help')))
      expect(helps.map(({ code }) => code)).toEqual(some.map(() => 0))
      for (const [at, command] of some.entries()) expect(helps[at]?.out).toMatch(new RegExp(`leyden ${command}\\b`))
    }
    expect(await json('info', '-n', 'alice')).toMatchObject({ alias: 'alice', network: 'regtest', synced: true })
    expect(await json('balance', '-n', 'alice')).toHaveProperty('onchain.spendableSat')
    expect((await json('address', '-n', 'bob'))['address']).toMatch(/^bcrt1q/)
    expect((await json('address', '-n', 'bob', '--type', 'p2tr'))['address']).toMatch(/^bcrt1p/)
    const invoice = await json('invoice', '5000', '-d', 'tea', '-n', 'carol')
    expect(await json('decode', String(invoice['bolt11']), '-n', 'alice')).toMatchObject({
      kind: 'bolt11',
      amountMsat: 5000,
      description: 'tea',
    })
    expect(await json('pay', String(invoice['bolt11']), '-n', 'alice')).toMatchObject({ status: 'succeeded', amountMsat: 5000 })
    const list = await json('channels', '-n', 'bob')
    expect((list['data'] as unknown[]).length).toBe(2)
    expect(await json('payments', '-n', 'alice')).toMatchObject({ data: [{ amountMsat: 5000 }, {}] })

    // The walk of the README: a channel of one's own, from open to closed.
    const rpc = createLedgerRpc(places().ledger.url, places().ledger.tokenFile)
    const states = async (): Promise<readonly string[]> => {
      const { data } = (await json('channels', '-n', 'alice')) as { data: { state: string }[] }
      return data.map(({ state }) => state).toSorted()
    }
    const opened = await json('open', places().carol.peerUri, '1000000', '-n', 'alice')
    expect(opened).toMatchObject({ state: 'opening', capacitySat: 1_000_000 })
    await waitFor('the funding transaction', async () => (await rpc.mempool()).length > 0)
    await rpc.mine(6)
    await waitFor('a channel that is normal', async () => (await states()).join() === 'normal,normal')
    const { data } = (await json('channels', '-n', 'alice')) as { data: { channelId: string; capacitySat: number }[] }
    const closing = await json('close', data.find(({ capacitySat }) => capacitySat === 1_000_000)?.channelId ?? '', '-n', 'alice')
    expect(['shuttingDown', 'closing']).toContain(closing['state'])
    await waitFor('the closing transaction', async () => (await rpc.mempool()).length > 0)
    await rpc.mine(6)
    await waitFor('a channel that is closed', async () => (await states()).join() === 'closed,normal')
    expect(((await json('transactions', '-n', 'alice'))['data'] as unknown[]).length).toBeGreaterThanOrEqual(3)

    const again = await cli('pay', String(invoice['bolt11']), '-n', 'alice')
    expect(again.code).toBe(1)
    expect(again.error).toContain('already_paid')
    expect((await cli('info', '-n', 'dave')).error).toContain('alice, bob, carol')
    const nobody = await cli('info', '-n', 'http://127.0.0.1:1', '--token-file', places().alice.tokenFile)
    expect(nobody.code).toBe(1)
    expect(nobody.error).toContain('no node answers')
  })

  it('starts a daemon again that died', async () => {
    const log = (name: string): string => readFileSync(join(datadir, name, 'log'), 'utf8')
    expect(log('bob')).toContain('"ready"')
    const victims = await new Promise<number[]>((resolve) =>
      execFile('pgrep', ['-f', join(datadir, 'bob')], (_, out) => resolve(out.trim().split('\n').filter(Boolean).map(Number))),
    )
    expect(victims.length).toBe(1)
    process.kill(victims[0] as number, 'SIGKILL')
    await waitFor('bob back', () => (devnet as Devnet).output.includes('bob is back'))
    await waitFor('its channels', async () => (await channels('bob')).every(({ peer }) => peer.connected))
  })

  it('stops on Ctrl-C, and comes back with everything', async () => {
    const before = await balances()
    // npm and the shell end by the signal, as it reached them too; the devnet takes its time to stop everything in order.
    await interrupt(devnet as Devnet)
    await waitFor('the lock released', () => !existsSync(join(datadir, 'devnet.lock')))
    for (const port of PORTS) expect(await isPortTaken(port + offset)).toBe(false)
    for (const name of ['alice', 'bob', 'carol', 'ledger']) expect(`${name}: ${lastLines(name)}`).not.toMatch(/fault|SIGKILL/)
    const again = launch(['--datadir', datadir, '--port-offset', String(offset), '--block-every', '1'])
    devnet = again
    await ready(again)
    expect(await balances()).toEqual(before)
    const rpc = createLedgerRpc(places().ledger.url, places().ledger.tokenFile)
    const height = await rpc.height()
    await waitFor('blocks by themselves', async () => (await rpc.height()) >= height + 2)
    const invoice = await unwrap(client('carol').v1.invoices.$post({ json: { amountMsat: 1234, description: '' } }))
    const payment = await unwrap(
      client('alice').v1.payments.$post({ json: { to: invoice.bolt11 } }, { headers: { prefer: 'wait=30' } }),
    )
    expect(payment.status).toBe('succeeded')
  })

  it('leaves nothing behind when it is killed itself', async () => {
    const child = (devnet as Devnet).child
    process.kill(-(child.pid as number), 'SIGKILL')
    await (devnet as Devnet).exited
    await waitFor('all daemons gone', async () =>
      (await Promise.all(PORTS.map((port) => isPortTaken(port + offset)))).every((taken) => !taken),
    )
    // They were told in time, and closed their stores: their locks go.
    const held = (): readonly string[] =>
      ['alice', 'bob', 'carol'].filter((name) => existsSync(join(datadir, name, 'db', 'leyden.lock')))
    await waitFor('the locks released', () => held().length === 0)
    expect(held()).toEqual([])
  })

  it('goes on where a first start was interrupted', async () => {
    const first = launch([...args, '--reset'])
    devnet = first
    await waitFor('the first step', () => first.output.includes('mining coins'), { timeoutMs: 90_000, everyMs: 10 })
    await interrupt(first)
    await waitFor('the lock released', () => !existsSync(join(datadir, 'devnet.lock')))
    expect(first.output).not.toMatch(/^ready$/m)
    const second = launch(args)
    devnet = second
    await ready(second)
    expect((await unwrap(client('alice').v1.payments.$get({ query: {} }))).data).toEqual([])
    expect(await Promise.all((['alice', 'bob', 'carol'] as const).map(async (name) => (await channels(name)).length))).toEqual([
      1, 2, 1,
    ])
  })
})
