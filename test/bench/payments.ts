/**
 * Payments over one channel between two daemons, each a process of its own with LMDB on disk, on a ledger that is a third. Every state is
 * durable before a byte of it leaves. The payer is asked by HTTP and answers when the payment has ended; amounts are above dust.
 */
import { existsSync, mkdtempSync, readdirSync, readFileSync, rmSync } from 'node:fs'
import { Agent, request } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout } from 'node:timers/promises'
import { unwrap } from '@leyden/api/client'
import {
  awaitGraph,
  confirmChannel,
  createLedgerNode,
  createLightningNode,
  freePort,
  fund,
  type LightningNode,
  openChannel,
  waitFor,
} from '@leyden/devnet-service'
import { type CpuProfile, sharesOf } from './profile.ts'
import { heading, note, percent, type Settings, short, table, times } from './report.ts'
import { quantile } from './store.ts'

const AMOUNT_MSAT = 1_000_000
const CAPACITY_SAT = 16_000_000
const INVOICES_AT_ONCE = 20
/** Starting it takes the time of many payments. */
const PROFILER_STARTS_MS = 1_000
const MAX_IN_FLIGHT = 100

interface Round {
  readonly inFlight: number
  /** For one payment, of whole processes with all their threads, and only where the system tells it: payer, payee, and who asked. */
  readonly cpuMs: readonly (number | undefined)[]
  readonly perSecond: number
  readonly latenciesMs: readonly number[]
  readonly failures: ReadonlyMap<string, number>
}

/** Runs `work` on each of the items, so many at a time. */
const pool = async <T>(items: readonly T[], atOnce: number, work: (item: T) => Promise<void>): Promise<void> => {
  const rest = items.values()
  await Promise.all(
    Array.from({ length: atOnce }, async () => {
      for (const item of rest) await work(item)
    }),
  )
}

const invoicesOf = async (node: LightningNode, count: number): Promise<readonly string[]> => {
  const texts: string[] = []
  await pool(Array.from({ length: count }), INVOICES_AT_ONCE, async () => {
    const { bolt11 } = await unwrap(node.client.v1.invoices.$post({ json: { amountMsat: AMOUNT_MSAT, description: 'bench' } }))
    texts.push(bolt11)
  })
  return texts
}

/** The processor time that the threads of a process have had so far. Linux tells it, in nanoseconds. */
const cpuMsOf = (pid: number | undefined): number | undefined => {
  try {
    const tasks = readdirSync(`/proc/${pid}/task`)
    const ns = tasks.map((task) => Number(readFileSync(`/proc/${pid}/task/${task}/schedstat`, 'utf8').split(' ')[0]))
    return ns.reduce((sum, one) => sum + one, 0) / 1e6
  } catch {
    return undefined
  }
}

const agent = new Agent({ keepAlive: true, maxSockets: MAX_IN_FLIGHT })

/** Asks a node to pay and to answer at the end; by plain HTTP, because fetch would cost as much as the node that is measured. */
const pay = (url: string, token: string, to: string): Promise<string> =>
  new Promise((resolve, reject) => {
    const body = JSON.stringify({ to })
    const headers = {
      authorization: `Bearer ${token}`,
      'content-type': 'application/json',
      'content-length': Buffer.byteLength(body),
      prefer: 'wait=60',
    }
    const asked = request(`${url}/v1/payments`, { agent, method: 'POST', headers }, (answer) => {
      let text = ''
      answer.setEncoding('utf8')
      answer.on('data', (piece: string) => (text += piece))
      answer.on('error', reject)
      answer.on('end', () => {
        const { status, failure, detail } = JSON.parse(text) as {
          readonly status: string | number
          readonly failure?: { readonly code: string }
          readonly detail?: string
        }
        resolve(failure?.code ?? detail ?? String(status))
      })
    })
    asked.on('error', reject)
    asked.end(body)
  })

const payAll = async (
  [from, to]: readonly [LightningNode, LightningNode],
  invoices: readonly string[],
  inFlight: number,
): Promise<Round> => {
  const latenciesMs: number[] = []
  const cpu = (): readonly (number | undefined)[] => [from.daemon.pid, to.daemon.pid, process.pid].map(cpuMsOf)
  const cpuBefore = cpu()
  const failures = new Map<string, number>()
  const token = readFileSync(from.tokenFile, 'utf8').trim()
  const start = performance.now()
  await pool(invoices, inFlight, async (to) => {
    const at = performance.now()
    const outcome = await pay(from.url, token, to).catch((error: unknown) => String(error))
    if (outcome === 'succeeded') latenciesMs.push(performance.now() - at)
    else failures.set(outcome, (failures.get(outcome) ?? 0) + 1)
  })
  const perSecond = (latenciesMs.length * 1000) / (performance.now() - start)
  const cpuMs = cpu().map((after, i) => {
    const before = cpuBefore[i]
    return after === undefined || before === undefined ? undefined : (after - before) / invoices.length
  })
  return { inFlight, cpuMs, perSecond, latenciesMs, failures }
}

export const benchPayments = async ({ quick }: Settings): Promise<void> => {
  heading('payments: one channel, two processes, every commit synced to disk')
  const directory = mkdtempSync(join(tmpdir(), 'leyden-bench-'))
  const ledger = createLedgerNode({
    datadir: join(directory, 'ledger'),
    rpcPort: await freePort(),
    p2pPort: await freePort(),
    linkPort: await freePort(),
  })
  const profiler = new URL('./profiler.mjs', import.meta.url).href
  const profileOf = (name: string): string => join(directory, `${name}.cpuprofile`)
  const nodeOf = async (name: string): Promise<LightningNode> =>
    createLightningNode({
      name,
      datadir: join(directory, name),
      apiPort: await freePort(),
      peerPort: await freePort(),
      ledger,
      env: { NODE_OPTIONS: `--import=${profiler}`, BENCH_PROFILE: profileOf(name) },
    })
  const [payer, payee] = [await nodeOf('payer'), await nodeOf('payee')]
  const daemons = [payer.daemon, payee.daemon]
  const toggleProfiles = (): void => {
    for (const { pid } of daemons) if (pid !== undefined) process.kill(pid, 'SIGUSR2')
  }
  try {
    await ledger.daemon.start()
    await ledger.rpc.mine(1)
    await Promise.all(daemons.map((daemon) => daemon.start()))
    await fund(ledger.rpc, [payer])
    const { fundingTxid } = await openChannel(payer, payee, { capacitySat: CAPACITY_SAT, pushMsat: 1_000_000_000 })
    await confirmChannel(ledger.rpc, [payer, payee], fundingTxid as string)
    await awaitGraph(payer, 1)

    const rounds: Round[] = []
    await payAll([payer, payee], await invoicesOf(payee, 200), 20) // warm code
    const [alone, many] = quick ? [50, 500] : [300, 3000]
    for (const [inFlight, count] of [
      [1, alone],
      [MAX_IN_FLIGHT, many],
    ] as const)
      rounds.push(await payAll([payer, payee], await invoicesOf(payee, count), inFlight))
    // Once more under the profiler, which takes a share of the time and most of all of payments that wait for each other.
    const invoices = await invoicesOf(payee, 500)
    toggleProfiles()
    await setTimeout(PROFILER_STARTS_MS)
    const { latenciesMs: profiled } = await payAll([payer, payee], invoices, MAX_IN_FLIGHT)
    toggleProfiles()
    const files = ['payer', 'payee'].map(profileOf)
    for (const file of files) await waitFor(`the profile ${file}`, () => Promise.resolve(existsSync(file)))
    const profiles = files.map((file) => JSON.parse(readFileSync(file, 'utf8')) as CpuProfile)
    const first = rounds[0]
    const both = (values: readonly (number | undefined)[]): string =>
      values.map((value) => (value === undefined ? '?' : short(value))).join(' + ')
    table(
      ['in flight', 'payments/s', 'p50 ms', 'p99 ms', 'to one', 'CPU ms'],
      rounds.map(({ inFlight, perSecond, latenciesMs, cpuMs }) => [
        String(inFlight),
        short(perSecond),
        short(quantile(latenciesMs, 0.5)),
        short(quantile(latenciesMs, 0.99)),
        times(perSecond / (first?.perSecond ?? perSecond)),
        both(cpuMs),
      ]),
    )
    const counted = (what: 'signed' | 'verified'): string =>
      both(profiles.map((profile) => profile.counted[what] / profiled.length))
    note('  CPU: for one payment, of all threads of the payer, of the payee, and of this process, which asks the payer')
    note(`  signatures made for one payment, with 100 in flight: ${counted('signed')}, checked: ${counted('verified')}`)
    for (const { inFlight, failures } of rounds)
      for (const [reason, count] of failures) note(`  ${count} of those with ${inFlight} in flight did not succeed: ${reason}`)

    const shares = profiles.map(sharesOf)
    note('\n  where the busy time of the main threads goes, with 100 in flight')
    const [mine, theirs] = shares
    const shareOf = (which: typeof mine, part: string): number => which?.parts.find(([name]) => name === part)?.[1] ?? 0
    const parts = [...new Set(shares.flatMap(({ parts }) => parts.map(([part]) => part)))]
    table(
      ['', 'payer', 'payee'],
      [
        ...parts.map((part) => [part, percent(shareOf(mine, part)), percent(shareOf(theirs, part))]),
        ['(busy, of all the time)', percent(mine?.busy ?? 0), percent(theirs?.busy ?? 0)],
      ],
    )
  } finally {
    await Promise.all(daemons.map((daemon) => daemon.stop()))
    await ledger.daemon.stop()
    if (process.env['LEYDEN_KEEP'] === undefined) rmSync(directory, { recursive: true, force: true })
    else note(`kept: ${directory}`)
  }
}
