/**
 * One run, from a seed: a network comes up, channels are opened, a random course of actions, then calm. In the calm all faults heal,
 * all channels are closed, and every satoshi must be where it belongs (accounting.ts).
 */
import type { Channel } from '@leyden/channel'
import { outpointKey } from '@leyden/bitcoin'
import type { ChannelId } from '@leyden/lnwire'
import { Disk } from '@leyden/runtime'
import { account } from './accounting.ts'
import { act, catchUp, newStory, openChannel, openOne, type Story, unblockAll } from './actions.ts'
import { doubleSpend } from './double-spend.ts'
import { check, noteBroadcast, observe } from './invariants.ts'
import { copyDisk, createWorld, fundNodes, mine, NAMES, type World, type WorldOptions } from './world.ts'

export interface Outcome {
  readonly seed: number
  readonly traceHash: string
  readonly broken: readonly string[]
  readonly lines: readonly string[]
  readonly summary: Readonly<Record<string, number>>
}

/** Blocks until the last HTLC has expired, been claimed, waited for and been buried; a run that needs more is stuck. */
const MOST_CALM_BLOCKS = 400

const CALM_FEES_AFTER = 30

const DOUBLE_SPEND_CHANCE = 0.15

const isOver = (world: World): boolean => world.broken.length > 0

/** Runs events one by one as long as nothing is broken, checking after each of them. */
const runChecked = (world: World): void => {
  const { sim } = world
  const run = sim.run.bind(sim)
  sim.run = async (limits = {}) => {
    let stop = false
    return await run({
      ...limits,
      until: () => {
        if (!stop) {
          check(world)
          stop = isOver(world)
        }
        return stop || limits.until?.() === true
      },
    })
  }
}

const begin = async (world: World): Promise<void> => {
  world.bootLedger()
  for (const name of NAMES) world.boot(name)
  await world.sim.run({ until: () => NAMES.every((name) => world.node(name)?.chain.synced() === true), forMs: 60_000 })
  await fundNodes(world)
  await world.sim.run({ forMs: 500 })
  const { random } = world
  const pairs = [
    ['alice', 'bob'],
    ['bob', 'carol'],
  ] as const
  for (const [a, b] of pairs) {
    const [from, to] = random.chance(0.5) ? [a, b] : [b, a]
    const capacity = BigInt(random.pick([200_000, 1_000_000]))
    const push = capacity * BigInt(200 + random.below(600))
    await world.wait(openChannel(world, from, to, capacity, push, true), 'first channels')
  }
  await mine(world, 6, 700)
  await world.sim.run({ forMs: 3000 })
  world.sim.network.roughen(world.shape.cutShare)
}

/** The opener gave it up before it was funded, or its funding was lost, and the accepter cannot know: it waits for two weeks of blocks. */
const isGhost = (world: World, channel: Channel): boolean => {
  if (channel.active[0]?.funding.confirmed !== undefined) return false
  if (world.stale !== undefined && world.idOf(world.stale) === channel.remoteNodeId) return true
  if (channel.role !== 'accepter') return false
  const opener = NAMES.find((name) => world.idOf(name) === channel.remoteNodeId)!
  const twin = world.node(opener)?.channels().get(channel.channelId)
  return (
    twin === undefined || (twin.phase.name === 'closed' && (twin.phase.how === 'neverFunded' || twin.phase.how === 'fundingLost'))
  )
}

const isLive = (world: World): boolean =>
  NAMES.some((name) => {
    const node = world.node(name)
    if (node === undefined) return true
    for (const [, channel] of node.channels()) if (channel.phase.name !== 'closed' && !isGhost(world, channel)) return true
    return false
  })

const isUnsettled = (world: World): boolean =>
  (world.engine()?.mempool().length ?? 1) > 0 ||
  NAMES.some((name) => {
    for (const [, payment] of world.node(name)?.payments.livePayments() ?? []) if (payment.status === 'inFlight') return true
    for (const [, invoice] of world.node(name)?.payments.liveInvoices() ?? []) if (invoice.status === 'accepted') return true
    return false
  })

/** What a channel still waits for. */
const stateOf = ({ phase, onchain, height, htlcs }: Channel): string => {
  const open = onchain?.outputs
    .filter(({ spent }) => spent === undefined)
    .map(
      ({ outpoint, valueSat, createdAt, path, htlc }) =>
        `${outpointKey(outpoint)} ${valueSat} sat of ${createdAt} by ${path.by} ${htlc?.cltvExpiry ?? ''}`,
    )
  const untold = htlcs.filter(({ offeredBy, told }) => offeredBy === 'local' && told !== true).map(({ id }) => id)
  return `${phase.name} at ${height}, spent by ${onchain?.spend?.kind} at ${onchain?.spend?.height}, open: ${open?.join('; ')}, untold: ${untold.join(' ')}, bids ${JSON.stringify(onchain?.bids)}`
}

/** Faults heal, every channel is closed one way or the other, and blocks come until nothing is left to wait for. */
const calm = async (world: World, story: Story): Promise<void> => {
  const { sim, random } = world
  world.say('calm')
  sim.network.calm()
  unblockAll(world, story)
  await catchUp(world, story, 0)
  await sim.run({ forMs: 5_000 + random.below(60_000) })
  let blocks = 0
  for (; blocks < MOST_CALM_BLOCKS && !isOver(world); blocks++) {
    if (!isLive(world) && !isUnsettled(world)) break
    // Small claims wait for low fees for as long as it takes.
    if (blocks === CALM_FEES_AFTER) world.feeMultiple = 1
    if (blocks % 4 === 1)
      for (const name of NAMES) {
        const node = world.node(name)
        if (node === undefined) continue
        for (const [id, { phase, active }] of node.channels()) {
          // A peer that has forgotten the channel never says that it is ready.
          const hangs =
            (phase.name === 'awaitingReady' && active[0]?.funding.confirmed !== undefined && blocks > 20) ||
            (phase.name === 'shuttingDown' && world.stale !== undefined && blocks > 100)
          if (phase.name !== 'normal' && !hangs) continue
          const force = hangs || random.chance(0.3)
          world.say(`${name} ends ${id.slice(0, 8)}${force ? ' by force' : ''}`)
          await world.wait(node.close(id as ChannelId, { force }), 'end')
        }
      }
    await mine(world, 1, 700)
    await catchUp(world, story, 0)
  }
  if (isOver(world)) return
  if (blocks === MOST_CALM_BLOCKS)
    for (const name of NAMES) {
      for (const [id, channel] of world.node(name)?.channels() ?? [])
        if (channel.phase.name !== 'closed' && !isGhost(world, channel))
          world.fail(`${name} ${id} does not end: ${stateOf(channel)}`)
      for (const [hash, payment] of world.node(name)?.payments.livePayments() ?? [])
        if (payment.status === 'inFlight') world.fail(`${name}: payment ${hash} does not end`)
    }
  if (world.broken.length === 0 && blocks === MOST_CALM_BLOCKS) world.fail('the mempool does not empty')
  world.say(`settled after ${blocks} blocks`)
}

export interface RunOptions extends WorldOptions {
  /** As many actions; else as many as the seed says. */
  readonly actions?: number
  /** On the way, one node is started on an old copy of its data. */
  readonly oldCopy?: boolean
  /** Now and then an opener opens a channel and spends its funding twice. */
  readonly doubleSpends?: boolean
}

/** A node's data are copied; later it crashes, and comes back with the copy. */
const forgetful = (world: World, count: number): ((done: number) => void) => {
  const name = world.random.pick(NAMES)
  const copiedAt = world.random.below(count >> 1)
  const restoredAt = copiedAt + 1 + world.random.below(count - copiedAt - 1)
  const copy = new Disk()
  return (done) => {
    if (done === copiedAt) {
      world.say(`the data of ${name} are copied`)
      copyDisk(world.sim.disk(name), copy)
    }
    if (done !== restoredAt) return
    world.crash(name)
    world.stale = name
    copyDisk(copy, world.sim.disk(name))
    world.say(`${name} comes back with its old data`)
    world.boot(name)
  }
}

export const runSeed = async (seed: number, options: RunOptions = {}): Promise<Outcome> => {
  const world = await createWorld(seed, options)
  const story = newStory()
  world.onNode = (name, node) => observe(world, name, node)
  world.onBroadcast = (name, transactions) => noteBroadcast(world, name, transactions)
  runChecked(world)
  let summary: Outcome['summary'] = {}
  try {
    await begin(world)
    const count = options.actions ?? 30 + world.random.below(30)
    const lose = options.oldCopy === true ? forgetful(world, count) : undefined
    while (story.actions < count && !isOver(world)) {
      lose?.(story.actions)
      await act(world, story)
      if (options.doubleSpends === true && world.random.chance(DOUBLE_SPEND_CHANCE)) {
        await openOne(world)
        await doubleSpend(world, story)
      }
    }
    if (!isOver(world)) await calm(world, story)
    if (!isOver(world)) summary = await account(world, story)
  } catch (error) {
    world.fail(error instanceof Error ? (error.stack ?? error.message) : String(error))
  }
  return {
    seed,
    traceHash: world.sim.traceHash(),
    broken: world.broken.map(({ message }) => message),
    lines: world.lines,
    summary,
  }
}
