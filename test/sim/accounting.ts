/**
 * The last word on a run: where every satoshi went. The chain says what each wallet has and what each transaction cost; the nodes'
 * records say what they paid, received and earned. The two must agree to the satoshi, but for what channels round away and what is
 * too small for an output of its own.
 */
import { type Channel } from '@leyden/channel'
import { isCoinbase, outpointKey, type Tx, type TxOutput, txid } from '@leyden/bitcoin'
import { bytesToHex } from '@leyden/codec'
import { invoiceKind, type Page, type PageWish, paymentKind } from '@leyden/lightning-service'
import type { InvoiceRecord, Payment } from '@leyden/payment'
import type { Kind } from '@leyden/runtime'
import { balance, type WalletKeys } from '@leyden/wallet'
import type { Story } from './actions.ts'
import { earnings } from './invariants.ts'
import { BANK_SCRIPT, type Name, NAMES, type World } from './world.ts'

const ANCHOR_SAT = 330n
/** BOLT 3 § Dust Limits, the limit that the nodes use: HTLCs below it have no output of their own in an anchor channel. */
const DUST_MSAT = 354_000n
/** What may be left unclaimed because a claim would cost more. */
const WORTHLESS_SAT = 3_000n

interface Entry {
  readonly tx: Tx
  readonly id: string
  readonly inputs: readonly (TxOutput | undefined)[]
  readonly feeSat: bigint
}

interface Timed {
  readonly paymentHash: string
  readonly createdAtMs: number
}

interface Books {
  readonly entries: readonly Entry[]
  readonly spenders: ReadonlyMap<string, Entry>
  readonly unspent: ReadonlyMap<string, TxOutput>
}

const isBank = ({ scriptPubKey }: TxOutput): boolean => bytesToHex(scriptPubKey) === bytesToHex(BANK_SCRIPT)

/** The chain since the nodes got their first coins. */
const readBooks = async (world: World): Promise<Books> => {
  const engine = world.engine()
  if (engine === undefined) throw new Error('the ledger is not up')
  const outputs = new Map<string, TxOutput>()
  const entries: Entry[] = []
  const spenders = new Map<string, Entry>()
  const tip = engine.tip().height
  for (const tx of world.bank) for (const [vout, output] of tx.outputs.entries()) outputs.set(`${txid(tx)}:${vout}`, output)
  const unspent = new Map<string, TxOutput>()
  for (let height = world.bank.length + 1; height <= tip; height++) {
    const block = await engine.blockByHash(engine.hashAtHeight(height as typeof tip)!)
    for (const tx of block!.transactions) {
      if (isCoinbase(tx)) continue
      const id = txid(tx)
      const inputs = tx.inputs.map(({ outpoint }) => outputs.get(outpointKey(outpoint)))
      const paid = inputs.reduce((sum, output) => sum + (output?.value ?? 0n), 0n)
      const feeSat = paid - tx.outputs.reduce((sum, { value }) => sum + value, 0n)
      const entry: Entry = { tx, id, inputs, feeSat }
      entries.push(entry)
      for (const { outpoint } of tx.inputs) {
        spenders.set(outpointKey(outpoint), entry)
        unspent.delete(outpointKey(outpoint))
      }
      for (const [vout, output] of tx.outputs.entries()) {
        outputs.set(`${id}:${vout}`, output)
        if (!isBank(output)) unspent.set(`${id}:${vout}`, output)
      }
    }
  }
  return { entries, spenders, unspent }
}

interface Sides {
  readonly opener: { readonly name: Name; readonly channel: Channel }
  readonly accepter: { readonly name: Name; readonly channel: Channel }
  readonly outpoint: string
}

/** What the other side's record would say, where it has forgotten it. */
const mirrored = (channel: Channel): Channel => ({
  ...channel,
  role: channel.role === 'opener' ? 'accepter' : 'opener',
  active: channel.active.map((active) => ({ ...active, localMsat: active.remoteMsat, remoteMsat: active.localMsat })),
  htlcs: [],
})

/** Channels whose funding is in the chain, from both sides. */
const channelsOf = (world: World, books: Books): Sides[] => {
  const found = new Map<string, Sides>()
  const ids = new Set(books.entries.map(({ id }) => id))
  for (const name of NAMES)
    for (const [id, channel] of world.node(name)?.channels() ?? []) {
      const outpoint = channel.active[0]?.funding.outpoint
      if (found.has(id) || outpoint === undefined || !ids.has(outpoint.txid)) continue
      const peer = NAMES.find((one) => world.idOf(one) === channel.remoteNodeId)!
      const twin = world.node(peer)?.channels().get(id)
      if (twin === undefined && name !== world.stale && peer !== world.stale)
        world.fail(`${name} has a channel ${id} that ${peer} does not know`)
      const known = name === world.stale && twin !== undefined ? mirrored(twin) : channel
      const [ours, theirs] = [
        { name, channel: known },
        { name: peer, channel: twin === undefined || peer === world.stale ? mirrored(channel) : twin },
      ]
      const [opener, accepter] = channel.role === 'opener' ? [ours, theirs] : [theirs, ours]
      found.set(id, { opener, accepter, outpoint: outpointKey(outpoint) })
    }
  return [...found.values()]
}

/** What is too small for an output, and what is rounded, at the end of a channel on the chain. In sat. */
const lostToDust = ({ opener, accepter }: Sides): bigint => {
  let msat = 0n
  const seen = new Set<string>()
  for (const [turned, { channel }] of [opener, accepter].entries())
    for (const htlc of channel.htlcs) {
      const id = `${(htlc.offeredBy === 'local') === (turned === 0)} ${htlc.id}`
      if (seen.has(id)) continue
      seen.add(id)
      msat += htlc.amountMsat < DUST_MSAT ? htlc.amountMsat : 1000n
    }
  const balances = [opener.channel.active[0]!.localMsat, opener.channel.active[0]!.remoteMsat]
  for (const one of balances) if (one < DUST_MSAT) msat += one
  return msat / 1000n + 4n
}

/** Live and ended ones; the list of the API must show the same, the newest first and each once. */
const every = async <T extends Timed>(
  world: World,
  name: Name,
  kind: Kind<T>,
  list: (wish: PageWish) => Promise<Page<T> | undefined>,
): Promise<ReadonlyMap<string, T>> => {
  const { drive } = world.node(name)!
  const all = new Map(drive.states(kind))
  for await (const [id, record] of drive.resting(kind)) {
    if (all.has(id)) world.fail(`${name}: ${kind.name} ${id} is live, and has ended`)
    all.set(id, record)
  }
  const listed: T[] = []
  for (let cursor: string | null | undefined; cursor !== null;) {
    const page: Page<T> | undefined = await list({ limit: 3, cursor })
    if (page === undefined) throw new Error(`${cursor} is no cursor`)
    listed.push(...page.data)
    cursor = page.nextCursor
  }
  const order = (records: Iterable<T>): string =>
    [...records]
      .toSorted((a, b) => b.createdAtMs - a.createdAtMs || (a.paymentHash < b.paymentHash ? 1 : -1))
      .map(({ paymentHash }) => paymentHash.slice(0, 8))
      .join(' ')
  const shown = listed.map(({ paymentHash }) => paymentHash.slice(0, 8)).join(' ')
  if (shown !== order(all.values())) world.fail(`${name} lists ${kind.name}s ${shown}, and has ${order(all.values())}`)
  return all
}
const everyPayment = (world: World, name: Name): Promise<ReadonlyMap<string, Payment>> =>
  every(world, name, paymentKind, (wish) => world.node(name)!.payments.payments(wish))
const everyInvoice = (world: World, name: Name): Promise<ReadonlyMap<string, InvoiceRecord>> =>
  every(world, name, invoiceKind, async (wish) => {
    const page = await world.node(name)!.payments.invoices(wish)
    return page && { ...page, data: page.data.map(({ invoice }) => invoice) }
  })

export const account = async (world: World, _story: Story): Promise<Record<string, number>> => {
  const books = await readBooks(world)
  const keys = new Map<Name, WalletKeys>()
  const has = new Map<Name, bigint>()
  const due = new Map<Name, bigint>()
  const slack = new Map<Name, bigint>()
  const add = (map: Map<Name, bigint>, name: Name, sat: bigint): void => void map.set(name, (map.get(name) ?? 0n) + sat)
  const explain: string[] = []
  const owes = (name: Name, msat: bigint, why: string): void => {
    add(due, name, msat)
    explain.push(`${name} ${msat} msat ${why}`)
  }
  for (const name of NAMES) {
    const node = world.node(name)
    if (node === undefined) throw new Error(`${name} is not up`)
    keys.set(name, node.keys)
    owes(name, world.fundedSat * 1000n, 'at the start')
  }
  const ownerOf = (output: TxOutput | undefined): Name | undefined =>
    output === undefined
      ? undefined
      : NAMES.find((name) => {
          const wallet = world.node(name)?.wallet()
          return wallet !== undefined && keys.get(name)?.findPath(output.scriptPubKey, wallet.branches) !== undefined
        })

  // What the wallets have, and what nobody has.
  let left = 0n
  for (const [outpoint, output] of books.unspent) {
    const owner = ownerOf(output)
    if (owner !== undefined) add(has, owner, output.value)
    else if (output.value !== ANCHOR_SAT) {
      left += output.value
      if (output.value > WORTHLESS_SAT && world.stale === undefined)
        world.fail(`${output.value} sat of ${outpoint} were never claimed`)
    }
  }
  for (const name of NAMES) {
    const wallet = world.node(name)?.wallet()
    if (wallet === undefined) continue
    const { confirmedSat, unconfirmedSat, lockedSat, immatureSat } = balance(wallet)
    const says = confirmedSat + unconfirmedSat + lockedSat + immatureSat
    if (says === (has.get(name) ?? 0n) || name === world.stale) continue
    world.fail(`the wallet of ${name} says ${says} sat, the chain ${has.get(name) ?? 0n}`)
    for (const [outpoint, output] of books.unspent)
      if (ownerOf(output) === name && wallet.coins.get(outpoint)?.valueSat !== output.value)
        world.say(`the wallet of ${name} does not have ${outpoint} of ${output.value} sat`)
    for (const coin of wallet.coins.values())
      if (!books.unspent.has(outpointKey(coin.outpoint)))
        world.say(`the chain does not have ${outpointKey(coin.outpoint)} of ${coin.valueSat} sat, ${coin.height} ${coin.spentBy}`)
  }

  // Channels: what was pushed, and what the end cost.
  const sides = channelsOf(world, books)
  const closings = new Set<string>()
  let forced = 0
  for (const side of sides) {
    const { opener, accepter, outpoint } = side
    owes(opener.name, 0n - opener.channel.pushMsat, `pushed to ${accepter.name}`)
    owes(accepter.name, opener.channel.pushMsat, `pushed by ${opener.name}`)
    const spend = books.spenders.get(outpoint)
    if (spend === undefined) {
      // Its opener forgot it, and the accepter had nothing in it.
      if (opener.name !== world.stale) world.fail(`channel ${opener.channel.channelId} is still open`)
      continue
    }
    closings.add(spend.id)
    for (const { name } of [opener, accepter]) add(slack, name, 2n)
    const { phase } = opener.channel
    const how = phase.name === 'closed' ? phase.how : phase.name
    if (how === 'mutual') {
      const { localMsat, remoteMsat } = opener.channel.active[0]!
      const out = (name: Name): bigint =>
        spend.tx.outputs.reduce((sum, output) => sum + (ownerOf(output) === name ? output.value : 0n), 0n)
      const openerPaid = localMsat - out(opener.name) * 1000n
      const accepterPaid = remoteMsat - out(accepter.name) * 1000n
      owes(opener.name, -openerPaid, `mutual close with ${accepter.name}, a fee of ${spend.feeSat} sat`)
      owes(accepter.name, -accepterPaid, `mutual close with ${opener.name}`)
      if (openerPaid < 0n || accepterPaid < 0n) world.fail(`a close of ${opener.channel.channelId} gives somebody too much`)
      // One of the two pays the fee; the other loses at the most what is no output.
      if (openerPaid > 1000n + DUST_MSAT && accepterPaid > 1000n + DUST_MSAT)
        world.fail(`both pay for the close of ${opener.channel.channelId}: ${openerPaid} and ${accepterPaid} msat`)
      continue
    }
    forced++
    const dust = lostToDust(side)
    for (const { name } of [opener, accepter]) add(slack, name, dust)
    owes(opener.name, -spend.feeSat * 1000n, `commitment with ${accepter.name}`)
    const anchors = spend.tx.outputs.filter(({ value }) => value === ANCHOR_SAT).length
    owes(opener.name, -ANCHOR_SAT * 1000n * BigInt(anchors), 'anchors')
  }

  // Everything else that was mined.
  const payerOf = (entry: Entry): Name | undefined => {
    const byInput = entry.inputs.map(ownerOf).find((name) => name !== undefined)
    if (byInput !== undefined) return byInput
    const byOutput = entry.tx.outputs.map(ownerOf).find((name) => name !== undefined)
    if (byOutput !== undefined) return byOutput
    for (const vout of entry.tx.outputs.keys()) {
      const next = books.spenders.get(`${entry.id}:${vout}`)
      if (next !== undefined) return payerOf(next)
    }
    return undefined
  }
  for (const entry of books.entries) {
    if (closings.has(entry.id) || entry.inputs.some((input) => input !== undefined && isBank(input))) continue
    const payer = payerOf(entry)
    if (payer === undefined) {
      if (entry.feeSat > 0n) world.fail(`nobody paid for ${entry.id}`)
      continue
    }
    const anchors = entry.inputs.filter((input) => input?.value === ANCHOR_SAT && ownerOf(input) === undefined).length
    owes(payer, (ANCHOR_SAT * BigInt(anchors) - entry.feeSat) * 1000n, `fee of ${entry.id.slice(0, 8)}`)
  }

  // Payments.
  let succeeded = 0
  let failed = 0
  const paidBy = new Map<string, Name[]>()
  for (const name of NAMES) {
    for (const [hash, payment] of await everyPayment(world, name)) {
      if (payment.status === 'inFlight' && name !== world.stale) world.fail(`${name}: payment ${hash} has not ended`)
      if (payment.status === 'failed') failed++
      if (payment.status !== 'succeeded') continue
      succeeded++
      paidBy.set(hash, [...(paidBy.get(hash) ?? []), name])
      owes(name, -(payment.amountMsat + (payment.feeMsat ?? 0n)), `paid for ${hash.slice(0, 8)}`)
    }
  }
  let forwarded = 0
  for (const name of NAMES) {
    const { payments } = world.node(name)!
    for (const [hash, invoice] of await everyInvoice(world, name)) {
      if (invoice.status === 'accepted' && name !== world.stale) world.fail(`${name}: invoice ${hash} is held for ever`)
      if (invoice.status !== 'settled') continue
      owes(name, invoice.receivedMsat ?? 0n, `received for ${hash.slice(0, 8)}`)
      const payers = paidBy.get(hash) ?? []
      const isDust = (invoice.receivedMsat ?? 0n) < DUST_MSAT && forced > 0
      if ((payers.length > 1 || (payers.length === 0 && !isDust)) && world.stale === undefined)
        world.fail(`${name}: invoice ${hash} was paid by ${payers.length === 0 ? 'nobody' : payers.join(' and ')}`)
    }
    for (const [id, forward] of payments.forwards())
      if (forward.status === 'offered' && name !== world.stale) world.fail(`${name}: forward ${id} has not ended`)
    for (const { forward } of earnings(world, name)) {
      forwarded++
      owes(name, forward.incoming.amountMsat - forward.outgoing.amountMsat, `forwarded ${forward.paymentHash.slice(0, 8)}`)
    }
  }

  for (const name of NAMES) {
    const difference = (has.get(name) ?? 0n) * 1000n - (due.get(name) ?? 0n)
    const allowed = ((slack.get(name) ?? 0n) + left) * 1000n
    // Nobody else loses by what one has forgotten; what it does with old data may cost it, and make others richer.
    if (name === world.stale || (difference >= -allowed && (difference <= allowed || world.stale !== undefined))) continue
    for (const line of explain) if (line.startsWith(name)) world.say(line)
    world.fail(`${name} has ${has.get(name) ?? 0n} sat, ${difference} msat from what is due (${allowed} allowed)`)
  }
  return {
    succeeded,
    failed,
    forwarded,
    channels: sides.length,
    forced,
    blocks: world.engine()!.tip().height - world.bank.length,
  }
}
