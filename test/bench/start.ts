/**
 * The start of a node with a past: 1,000 channels and 1,000,000 payments that have ended, over the start of the same node with one of
 * each. The past is copied from a channel and a payment that were real, through the drive, as the node writes them; its disk is warm.
 */
import { mkdtempSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { performance } from 'node:perf_hooks'
import { unwrap } from '@leyden/api/client'
import { channelKind } from '@leyden/channel'
import { bytesToHex } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import {
  awaitTip,
  confirmChannel,
  createLedgerNode,
  createLightningNode,
  freePort,
  fund,
  type LightningNode,
  openChannel,
  waitFor,
} from '@leyden/devnet-service'
import { createHistory, invoiceKind, type NodeEffect, PAYMENT_HISTORY, paymentKind, systemClock } from '@leyden/lightning-service'
import { ChannelId, PaymentHash, ShortChannelId } from '@leyden/lnwire'
import type { Payment } from '@leyden/payment'
import { createDrive, type Drive, type Kind, type Store, waking } from '@leyden/runtime'
import { lmdbStore } from '@leyden/runtime/store/lmdb'
import { heading, note, type Settings, short, table, times } from './report.ts'
import { quantile } from './store.ts'

const GOAL = { ms: 2_000, mb: 300, bytes: 1_024 }
const CAPACITY_SAT = 16_000_000
const MADE_AT_ONCE = 1_000
const PAGES = 40

interface Start {
  readonly what: string
  readonly ms: number
  /** All that is in memory, what is mapped from files included, and without it. In MB; only where the system tells. */
  readonly rssMb: number
  readonly ownMb: number
  readonly pagesMs: readonly number[]
}

const memoryOf = (pid: number | undefined): { readonly rssMb: number; readonly ownMb: number } => {
  try {
    const text = readFileSync(`/proc/${pid}/status`, 'utf8')
    const mb = (name: string): number => Number(new RegExp(`^${name}:\\s+(\\d+) kB`, 'm').exec(text)?.[1]) / 1024
    return { rssMb: mb('VmRSS'), ownMb: mb('RssAnon') }
  } catch {
    return { rssMb: Number.NaN, ownMb: Number.NaN }
  }
}

/** Starts the node, asks for pages of its payments from the newest on, and stops it. */
const measure = async (what: string, node: LightningNode): Promise<Start> => {
  const at = performance.now()
  await node.daemon.start()
  const ms = performance.now() - at
  const memory = memoryOf(node.daemon.pid)
  const pagesMs: number[] = []
  let cursor: string | null = null
  for (let page = 0; page < PAGES; page++) {
    const asked = performance.now()
    const query: Record<string, string> = { limit: '50', ...(cursor === null ? {} : { cursor }) }
    const { nextCursor } = await unwrap(node.client.v1.payments.$get({ query }))
    pagesMs.push(performance.now() - asked)
    cursor = nextCursor
  }
  await node.daemon.stop()
  return { what, ms, ...memory, pagesMs }
}

const hashOf = (text: string): string => bytesToHex(sha256(new TextEncoder().encode(text)))

/** Copies the channel and the payment that the store has. */
const makePast = async (store: Store, drive: Drive<NodeEffect>, channels: number, payments: number): Promise<void> => {
  const [channel] = drive.states(channelKind).values()
  if (channel === undefined) throw new Error('there is no channel to copy')
  await drive.submit((batch) => {
    for (let n = 1; n < channels; n++) {
      const { announcement: _, shortChannelId: __, ...rest } = channel
      const id = ChannelId(hashOf(`channel ${n}`))
      batch.set(channelKind, id, {
        ...rest,
        channelId: id,
        temporaryChannelId: ChannelId(hashOf(`temporary ${n}`)),
        keyIndex: channel.keyIndex + n,
        localAlias: ShortChannelId(rest.localAlias + BigInt(n)),
        revocations: [],
      })
    }
  })
  const history = createHistory(PAYMENT_HISTORY, paymentKind, { store, drive })
  let payment: Payment | undefined
  for await (const [, one] of drive.resting(paymentKind)) payment ??= one
  if (payment === undefined) throw new Error('there is no payment to copy')
  for (let made = 1; made < payments; made += MADE_AT_ONCE) {
    const records = Array.from({ length: Math.min(MADE_AT_ONCE, payments - made) }, (_, i) => ({
      ...payment,
      paymentHash: PaymentHash(hashOf(`payment ${made + i}`)),
      createdAtMs: payment.createdAtMs + (made + i - payments) * 1_000,
    }))
    await drive.submit(
      (batch) => {
        for (const record of records) {
          history.place(batch, undefined, record)
          batch.set(paymentKind, record.paymentHash, record)
        }
      },
      records.map(({ paymentHash }) => waking(paymentKind, paymentHash)),
    )
  }
}

const openDrive = async (datadir: string): Promise<{ readonly store: Store; readonly drive: Drive<NodeEffect> }> => {
  const store = lmdbStore({ path: join(datadir, 'db') })
  const drive = createDrive<NodeEffect>({
    store,
    kinds: [channelKind, paymentKind, invoiceKind] as unknown as readonly Kind<unknown>[],
    clock: systemClock,
    release: () => undefined,
    onFault: (fault) => {
      throw fault
    },
  })
  await drive.load()
  return { store, drive }
}

/** What the row of one that rests holds, besides its key. */
const sizeOfFirst = async <T>(drive: Drive<NodeEffect>, kind: Kind<T>): Promise<number> => {
  for await (const [, one] of drive.resting(kind)) return kind.diff(undefined, one)[0]?.value?.length ?? 0
  return 0
}

export const benchStart = async ({ quick }: Settings): Promise<void> => {
  const [channels, payments] = quick ? [100, 20_000] : [1_000, 1_000_000]
  heading(`start: ${channels.toLocaleString('en-US')} channels, ${payments.toLocaleString('en-US')} payments that have ended`)
  const directory = mkdtempSync(join(tmpdir(), 'leyden-bench-'))
  const ledger = createLedgerNode({
    datadir: join(directory, 'ledger'),
    rpcPort: await freePort(),
    p2pPort: await freePort(),
    linkPort: await freePort(),
  })
  const nodeOf = async (name: string): Promise<LightningNode> =>
    createLightningNode({
      name,
      datadir: join(directory, name),
      apiPort: await freePort(),
      peerPort: await freePort(),
      ledger,
    })
  const [payer, payee] = [await nodeOf('payer'), await nodeOf('payee')]
  try {
    await ledger.daemon.start()
    await ledger.rpc.mine(1)
    await Promise.all([payer.daemon.start(), payee.daemon.start()])
    await fund(ledger.rpc, [payer])
    const { fundingTxid } = await openChannel(payer, payee, { capacitySat: CAPACITY_SAT, pushMsat: 1_000_000_000 })
    await confirmChannel(ledger.rpc, [payer, payee], fundingTxid as string)
    const { bolt11 } = await unwrap(payee.client.v1.invoices.$post({ json: { amountMsat: 1_000_000, description: 'coffee' } }))
    const paid = await unwrap(payer.client.v1.payments.$post({ json: { to: bolt11 } }))
    await waitFor('the end of the payment', async () => {
      const { status } = await unwrap(payer.client.v1.payments[':id'].$get({ param: { id: paid.id } }))
      return status === 'succeeded'
    })
    await awaitTip(ledger.rpc, [payer])
    await Promise.all([payer.daemon.stop(), payee.daemon.stop()]) // the payee knows nothing of the copies
    await measure('to warm up', payer)
    const before = await measure('one of each', payer)

    const file = join(payer.datadir, 'db', 'leyden.mdb')
    const bytesBefore = statSync(file).size
    const { store, drive } = await openDrive(payer.datadir)
    await makePast(store, drive, channels, 1)
    const bytesThen = statSync(file).size
    const at = performance.now()
    await makePast(store, drive, 1, payments)
    const madeMs = performance.now() - at
    const record = await sizeOfFirst(drive, paymentKind)
    await drive.stop()
    await store.close()
    const bytesAfter = statSync(file).size
    const received = await openDrive(payee.datadir)
    const invoice = await sizeOfFirst(received.drive, invoiceKind)
    await received.drive.stop()
    await received.store.close()
    const after = await measure('with this past', payer)

    table(
      ['', 'ready ms', 'memory MB', 'of its own MB', 'page of 50, p50 ms', 'p99 ms'],
      [
        ...[before, after].map(({ what, ms, rssMb, ownMb, pagesMs }) => [
          what,
          short(ms),
          short(rssMb),
          short(ownMb),
          short(quantile(pagesMs, 0.5)),
          short(quantile(pagesMs, 0.99)),
        ]),
        ['to one of each', ...[after.ms / before.ms, after.rssMb / before.rssMb, after.ownMb / before.ownMb].map(times), '', ''],
        ['goal', short(GOAL.ms), short(GOAL.mb), '', '', ''],
      ],
    )
    const each = (bytesAfter - bytesThen) / payments
    note(
      '  ready: from the start of the process, source files translated, to the API; memory then, with the pages of the database',
    )
    note(
      `  on disk: ${short(each)} bytes a payment with its index (goal ${short(GOAL.bytes)}), its record has ${record}, an invoice's ${invoice}`,
    )
    note(
      `  ${channels - 1} more channels: ${short((bytesThen - bytesBefore) / 1024)} KB; payments were written at ${short((payments * 1000) / madeMs)} a second`,
    )
  } finally {
    await Promise.all([payer, payee].map(({ daemon }) => daemon.stop()))
    await ledger.daemon.stop()
    if (process.env['LEYDEN_KEEP'] === undefined) rmSync(directory, { recursive: true, force: true })
    else note(`kept: ${directory}`)
  }
}
