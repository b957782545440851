/**
 * What happens in a simulation: one random action after the other, drawn from the seed. Each begins something and lets it run for a
 * while; most of them do not wait for its end, so that payments, closes, crashes and reorganisations overlap.
 * Faults are bounded as the protocol wants it: no node is away from its peers or the ledger for more than a few blocks.
 */
import { type BlockHash, FeeratePerKw, Msat, Sat } from '@leyden/bitcoin'
import { bytesToHex } from '@leyden/codec'
import { ecdsaSignRecoverable, sha256 } from '@leyden/crypto'
import { type ChannelId, offeredFeatures, PaymentHash } from '@leyden/lnwire'
import { decodeInvoice, encodeInvoice, isInvoiceProblem } from '@leyden/payment'
import { BANK_SCRIPT, type Name, NAMES, network, type World } from './world.ts'

/** Hashes that were asked to be paid, and the hold invoices that wait for a decision. */
export interface Story {
  readonly held: { readonly name: Name; readonly hash: PaymentHash; readonly preimage: Uint8Array }[]
  readonly invoices: { readonly payee: Name; readonly text: string }[]
  /** Pairs of hosts that cannot reach each other now. */
  readonly blocked: (readonly [string, string])[]
  actions: number
  /** Of all chains that there were. */
  highest: number
}

export const newStory = (): Story => ({ held: [], invoices: [], blocked: [], actions: 0, highest: 0 })

/** Deepest reorganisation: below what channels take for safe (6). */
export const MAX_REORG = 5
/** Blocks that a node may lag behind before the chain goes on. */
const MAX_LAG = 3

const isUp = (world: World, name: Name): boolean => world.node(name) !== undefined

/** An amount of any order that a channel carries: from dust to most of it. */
const amount = (world: World): Msat => {
  const { random } = world
  const unit = random.pick([1n, 1_000n, 300_000n, 1_000_000n, 20_000_000n, 100_000_000n])
  return Msat(unit * BigInt(1 + random.below(5)) + BigInt(random.chance(0.5) ? random.below(1000) : 0))
}

const others = (name: Name): Name[] => NAMES.filter((one) => one !== name)

const pause = (world: World): Promise<number> => {
  const { random } = world
  return world.sim.run({ forMs: random.pick([0, 3, 10, 30, 100, 400, 1500]) })
}

/** Begins something, and tells how it went when it has ended. */
const begin = (world: World, label: string, work: Promise<unknown>): void => {
  work.then(
    (result) => {
      const refused = typeof result === 'object' && result !== null && 'kind' in result && result.kind === 'refusal'
      world.say(`${label}: ${refused ? `refused ${String((result as { code?: unknown }).code)}` : 'done'}`)
    },
    (error: unknown) => world.say(`${label}: ${error instanceof Error ? error.message : String(error)}`),
  )
}

const payText = (world: World, payer: Name, text: string, maxFeeMsat: bigint): void => {
  const node = world.node(payer)
  const invoice = decodeInvoice(text)
  if (node === undefined) return
  if (isInvoiceProblem(invoice)) return world.fail(`an invoice of ours cannot be read: ${JSON.stringify(invoice)}`)
  world.say(`${payer} pays ${invoice.amountMsat} msat for ${invoice.paymentHash.slice(0, 8)}`)
  begin(world, `${payer} pays ${invoice.paymentHash.slice(0, 8)}`, node.payments.pay(invoice, { maxFeeMsat: Msat(maxFeeMsat) }))
}

type Action = (world: World, story: Story) => Promise<void> | void

const pickUp = (world: World): Name | undefined => {
  const up = NAMES.filter((name) => isUp(world, name))
  return up.length === 0 ? undefined : world.random.pick(up)
}

/** An invoice of any sort, and a payer for it. */
const pay =
  (hold: boolean): Action =>
  async (world, story) => {
    const { random } = world
    const payee = pickUp(world)
    if (payee === undefined) return
    const payer = random.pick(others(payee))
    const node = world.node(payee)
    const preimage = random.bytes(32)
    const hash = PaymentHash(bytesToHex(sha256(preimage)))
    const record = await world.wait(
      node!.payments.invoice({
        amountMsat: amount(world),
        description: 'simulated',
        expirySeconds: random.pick([30, 3600]),
        ...(hold ? { hold: { paymentHash: hash } } : {}),
      }),
      `${payee} makes an invoice`,
      2000,
    )
    if (record === undefined || 'kind' in record) return
    if (hold) story.held.push({ name: payee, hash, preimage })
    story.invoices.push({ payee, text: record.text })
    payText(world, payer, record.text, random.chance(0.1) ? 0n : 1_000_000n)
  }

/** The same invoice again, perhaps by another. */
const payAgain: Action = (world, story) => {
  if (story.invoices.length === 0) return
  const { payee, text } = world.random.pick(story.invoices)
  payText(world, world.random.pick(others(payee)), text, 1_000_000n)
}

/** An invoice that its payee has signed and does not know. */
const payUnknown: Action = (world) => {
  const { random } = world
  const payee = pickUp(world)
  if (payee === undefined) return
  const secret = world.node(payee)!.keys.nodeSecret
  const text = encodeInvoice(
    {
      prefix: network.bolt11Prefix,
      amountMsat: amount(world),
      timestamp: Math.floor(world.sim.now() / 1000),
      paymentHash: PaymentHash(bytesToHex(random.bytes(32))),
      paymentSecret: random.bytes(32),
      description: 'nobody knows it',
      expirySeconds: 3600,
      minFinalCltvExpiryDelta: 24,
      routeHints: [],
      features: offeredFeatures('invoice'),
      fallbackScripts: [],
    },
    (hash) => ecdsaSignRecoverable(hash, secret),
  )
  payText(world, random.pick(others(payee)), text, 1_000_000n)
}

const burst: Action = async (world, story) => {
  const count = 2 + world.random.below(5)
  for (let i = 0; i < count; i++) await pay(world.random.chance(0.2))(world, story)
}

const decideHeld: Action = (world, story) => {
  const held = story.held.filter(({ name }) => isUp(world, name))
  if (held.length === 0) return
  const one = world.random.pick(held)
  story.held.splice(story.held.indexOf(one), 1)
  const node = world.node(one.name)!
  if (world.random.chance(0.6))
    begin(world, `${one.name} settles ${one.hash.slice(0, 8)}`, node.payments.settle(one.hash, one.preimage))
  else begin(world, `${one.name} cancels ${one.hash.slice(0, 8)}`, node.payments.cancel(one.hash))
}

const cut: Action = (world) => {
  const lines = world.sim.network.lines()
  if (lines.length === 0) return
  const [a, b] = world.random.pick(lines)
  world.say(`cut ${a} ${b}`)
  world.sim.network.cut(a, b)
}

const block: Action = (world, story) => {
  if (story.blocked.length > 0) return
  const a = world.random.pick(NAMES)
  const b = world.random.pick([...others(a), 'ledger'])
  world.say(`block ${a} ${b}`)
  story.blocked.push([a, b])
  world.sim.network.block(a, b)
}

export const unblockAll = (world: World, story: Story): void => {
  for (const [a, b] of story.blocked.splice(0)) {
    world.say(`unblock ${a} ${b}`)
    world.sim.network.unblock(a, b)
  }
}

const unblock: Action = (world, story) => unblockAll(world, story)

const crashNow: Action = (world) => {
  const name = pickUp(world)
  if (name !== undefined) world.crash(name)
}

/** Power fails at a write that is to come, just before it is on the disk or just after. */
const crashLater: Action = (world) => {
  const name = pickUp(world)
  if (name === undefined) return
  const store = world.life(name)!.host.store
  const point = { write: store.writes + 1 + world.random.below(8), when: world.random.pick(['before', 'after'] as const) }
  world.say(`${name} will crash ${point.when} write ${point.write}`)
  store.crashAt(point)
}

const boot: Action = (world) => {
  const { random } = world
  for (const name of NAMES)
    if (world.life(name)?.host.alive !== true)
      world.boot(name, random.chance(0.15) ? { write: 1 + random.below(6), when: random.pick(['before', 'after']) } : undefined)
  if (!world.ledgerHost().alive) world.bootLedger()
}

const fillDisk: Action = (world) => {
  const name = pickUp(world)
  if (name === undefined) return
  const count = 1 + world.random.below(5)
  world.say(`the disk of ${name} refuses ${count} writes`)
  world.life(name)!.host.store.failWrites(count)
}

const crashLedger: Action = (world) => {
  if (!world.ledgerHost().alive) return
  if (world.random.chance(0.5)) return world.ledgerHost().crash()
  const { store } = world.ledgerHost()
  store.crashAt({ write: store.writes + 1 + world.random.below(4), when: world.random.pick(['before', 'after']) })
}

/** Waits, with faults healed, until every node has taken all but the last few blocks. */
export const catchUp = async (world: World, story: Story, lag: number): Promise<void> => {
  const isBehind = (name: Name): boolean => {
    const node = world.node(name)
    const tip = world.engine()?.tip()
    return node === undefined || tip === undefined || node.chain.height() < tip.height - lag
  }
  for (let round = 0; NAMES.some(isBehind); round++) {
    if (round > 100) return world.fail(`${NAMES.filter(isBehind).join(', ')} cannot catch up with the ledger`)
    if (round > 0) unblockAll(world, story)
    for (const name of NAMES) if (world.life(name)?.host.alive !== true) world.boot(name)
    if (!world.ledgerHost().alive) world.bootLedger()
    await world.sim.run({ forMs: 500 })
  }
}

const mineSome: Action = async (world, story) => {
  await catchUp(world, story, MAX_LAG)
  const engine = world.engine()
  if (engine === undefined) return
  const count = 1 + (world.random.chance(0.3) ? world.random.below(3) : 0)
  const empty = world.random.chance(0.15)
  world.say(`mine ${count}${empty ? ' empty' : ''}`)
  begin(world, 'mine', empty ? engine.generateBlock(BANK_SCRIPT, []) : engine.generateToAddress(count, BANK_SCRIPT))
}

/** Another branch takes over: the transactions of the old one come back to the mempool, and into the new one or not. */
const reorg: Action = async (world, story) => {
  await catchUp(world, story, 0)
  const engine = world.engine()
  if (engine === undefined) return
  const { height } = engine.tip()
  story.highest = Math.max(story.highest, height)
  // Counted from the highest tip: one that broke off half-way is not followed by another from there.
  const most = MAX_REORG - (story.highest - height)
  if (most < 1) return
  const depth = 1 + world.random.below(most)
  const hash = engine.hashAtHeight((height - depth + 1) as typeof height) as BlockHash
  const empty = world.random.below(depth + 1)
  world.say(`reorganise ${depth} blocks, ${empty} of the new ones empty`)
  const work = async (): Promise<void> => {
    await engine.invalidateBlock(hash)
    for (let i = 0; i < depth + 1; i++)
      if (i < empty) await engine.generateBlock(BANK_SCRIPT, [])
      else await engine.generateToAddress(1, BANK_SCRIPT)
  }
  await world.wait(work(), 'reorganise')
}

const fees: Action = (world) => {
  world.feeMultiple = world.random.pick([1, 1, 2, 4, 8, 16])
  world.say(`fees times ${world.feeMultiple}`)
}

export const openChannel = (
  world: World,
  from: Name,
  to: Name,
  capacitySat: bigint,
  pushMsat: bigint,
  announce: boolean,
): Promise<unknown> => {
  const node = world.node(from)
  if (node === undefined) return Promise.resolve()
  world.say(`${from} opens ${capacitySat} sat to ${to}, pushing ${pushMsat} msat${announce ? '' : ', unannounced'}`)
  const work = async (): Promise<void> => {
    await node.connect(world.idOf(to), world.addressOf(to))
    await node.open(world.idOf(to), {
      capacitySat: Sat(capacitySat),
      pushMsat: Msat(pushMsat),
      announce,
      fundingFeeratePerKw: FeeratePerKw(253 * world.random.pick([1, 2, 10])),
    })
  }
  return work()
}

const liveChannels = (world: World): number =>
  NAMES.reduce((sum, name) => {
    for (const [, { phase }] of world.node(name)?.channels() ?? []) if (phase.name !== 'closed') sum++
    return sum
  }, 0)

const open: Action = (world) => {
  const { random } = world
  const from = pickUp(world)
  if (from === undefined || liveChannels(world) >= 8) return
  const to = random.pick(others(from))
  const capacity = BigInt(random.pick([20_000, 100_000, 400_000, 1_000_000]) + random.below(1000))
  const push = random.chance(0.5) ? (capacity * BigInt(random.below(90))) / 100n : 0n
  begin(world, `${from} opens to ${to}`, openChannel(world, from, to, capacity, push * 1000n, random.chance(0.7)))
}

/** Opens a channel as any other, and gives it the time for it. */
export const openOne = async (world: World): Promise<void> => {
  await open(world, newStory())
  await world.sim.run({ forMs: 1_500 })
}

const close =
  (force: boolean): Action =>
  (world) => {
    const { random } = world
    const name = pickUp(world)
    if (name === undefined) return
    const node = world.node(name)!
    const usable = [...node.channels()].filter(([, { phase }]) => phase.name === 'normal' || phase.name === 'shuttingDown')
    if (usable.length === 0) return
    const [id] = random.pick(usable)
    world.say(`${name} closes ${id.slice(0, 8)}${force ? ' by force' : ''}`)
    begin(
      world,
      `${name} closes ${id.slice(0, 8)}`,
      node.close(id as ChannelId, {
        force,
        ...(random.chance(0.3) ? { feeratePerKw: FeeratePerKw(300 + random.below(2000)) } : {}),
      }),
    )
  }

const rest: Action = async (world) => {
  await world.sim.run({ forMs: world.random.pick([2000, 5000, 20_000]) })
}

/** Weight of each kind of action. */
const ACTIONS: readonly (readonly [number, Action])[] = [
  [24, pay(false)],
  [8, pay(true)],
  [3, payAgain],
  [3, payUnknown],
  [4, burst],
  [7, decideHeld],
  [5, cut],
  [2, block],
  [4, unblock],
  [3, crashNow],
  [5, crashLater],
  [9, boot],
  [3, fillDisk],
  [1, crashLedger],
  [9, mineSome],
  [2, reorg],
  [2, fees],
  [4, open],
  [1, close(false)],
  [1, close(true)],
  [3, rest],
]
const TOTAL = ACTIONS.reduce((sum, [weight]) => sum + weight, 0)

/** One action, and a while of its consequences. */
export const act = async (world: World, story: Story): Promise<void> => {
  let draw = world.random.below(TOTAL)
  const found = ACTIONS.find(([weight]) => (draw -= weight) < 0)
  story.actions++
  await found?.[1](world, story)
  await pause(world)
}
