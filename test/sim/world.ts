/**
 * A whole network in one process: the ledger engine and three nodes, exactly as the services run them, over disks, lines and a clock
 * that one seed drives. Whatever happens here can be had again from the seed.
 * The link between ledger and nodes runs over the same simulated lines as the peers' connections, so it breaks like them.
 */
import { type BlockHash, ledgerId, type Network, networks, p2wshOf, buildScript, OP, Sat, type Tx, txid } from '@leyden/bitcoin'
import { bytesToHex, concat } from '@leyden/codec'
import { pointFromSecret, sha256 } from '@leyden/crypto'
import { createLedgerEngine, FileDisk, type LedgerEngine } from '@leyden/ledger-service'
import { createNode, type Log, type Node, type NodeConfig, Refused } from '@leyden/lightning-service'
import { type ChainSource, type Line, linkClient, linkServer, type LineEnd, type LedgerSource } from '@leyden/link'
import { type NodeId, nodeIdFromPoint } from '@leyden/lnwire'
import {
  type Connection,
  createSimulation,
  type CrashPoint,
  Disk,
  memoryStore,
  type SeededRandom,
  type SimHost,
  type Simulation,
} from '@leyden/runtime'
import { createWalletKeys } from '@leyden/wallet'

export const network = networks.regtest
export const NAMES = ['alice', 'bob', 'carol'] as const
export type Name = (typeof NAMES)[number]

const LEDGER = 'ledger'
const LEDGER_ADDRESS = 'ledger:8080'
const LINK_PAUSE_MS = 300
const KEPT_LINES = 4000
/** Blocks that the shared beginning has: ten of their coinbases can be spent. */
const BASE_BLOCKS = 110
const BASE_START_MS = 1_699_000_000_000
/** What each node gets at the start, in coins of these amounts. */
const COINS_SAT = [3_000_000n, 2_000_000n, 1_000_000n, 500_000n, 500_000n] as const

const TRUE_SCRIPT = buildScript(OP.OP_TRUE)
/** Outputs of the bank, and of all later coinbases: anyone may spend them. */
export const BANK_SCRIPT = p2wshOf(TRUE_SCRIPT)

/** Something that must never be. */
export class Broken extends Error {
  constructor(detail: string) {
    super(detail)
    this.name = 'Broken'
  }
}

const rowsOf = (disk: Disk) => disk.page({ gte: new Uint8Array([0]), lt: new Uint8Array(9).fill(0xff) }, Number.MAX_SAFE_INTEGER)

/** Makes a disk hold what another one holds. */
export const copyDisk = (from: Disk, to: Disk): void => {
  to.apply(rowsOf(to).map(([rowKey]) => ({ key: rowKey, value: undefined })))
  to.apply(rowsOf(from).map(([rowKey, value]) => ({ key: rowKey, value })))
}

type BaseChain = { readonly disk: Disk; readonly files: FileDisk; readonly coinbases: readonly Tx[] }
const bases = new Map<Network, Promise<BaseChain>>()
/** A chain with mature coinbases, made once for each network and copied for every world. */
const baseChain = (ledger: Network): Promise<BaseChain> => {
  const known = bases.get(ledger)
  if (known !== undefined) return known
  const base = (async () => {
    const disk = new Disk()
    const files = new FileDisk()
    let now = BASE_START_MS
    const clock = { now: () => (now += 600_000), setTimer: () => () => undefined }
    const engine = await createLedgerEngine({ store: memoryStore(disk), directory: files.open(), network: ledger, clock })
    const coinbases: Tx[] = []
    for (let i = 0; i < BASE_BLOCKS; i++) {
      const [hash] = await engine.generateToAddress(1, BANK_SCRIPT)
      const block = await engine.blockByHash(hash as BlockHash)
      coinbases.push(block?.transactions[0] as Tx)
    }
    await engine.close()
    return { disk, files, coinbases }
  })()
  bases.set(ledger, base)
  return base
}

/** Cuts a stream of bytes into frames: four bytes of length, then the frame. */
const framed = (connection: Connection, receive: (frame: Uint8Array) => void): ((frame: Uint8Array) => void) => {
  let pending: Uint8Array = new Uint8Array(0)
  connection.onData((bytes) => {
    pending = concat(pending, bytes)
    while (pending.length >= 4) {
      const length = new DataView(pending.buffer, pending.byteOffset).getUint32(0)
      if (pending.length < 4 + length) return
      const frame = pending.slice(4, 4 + length)
      pending = pending.slice(4 + length)
      receive(frame)
    }
  })
  return (frame) => {
    const head = new Uint8Array(4)
    new DataView(head.buffer).setUint32(0, frame.length)
    connection.send(concat(head, frame))
  }
}

/** A node's end of the link: dialled again and again. */
const linkOver = (host: SimHost, ledger: Network): ChainSource => {
  const client = linkClient({ genesis: ledgerId(ledger), clock: host.clock })
  let stopped = false
  const again = (): void => {
    if (!stopped) host.clock.setTimer(LINK_PAUSE_MS, dial)
  }
  const dial = (): void => {
    host.net.dial(LEDGER_ADDRESS).then(
      (connection) => {
        let end: LineEnd | undefined
        const send = framed(connection, (frame) => end?.receive(frame))
        connection.onClose((reason) => {
          end?.closed(reason)
          again()
        })
        end = client.attach({ send, close: () => connection.close() })
      },
      () => again(),
    )
  }
  dial()
  return {
    start: (cursor, onEvent, recent) => client.start(cursor, onEvent, recent),
    broadcast: (transactions) => client.broadcast(transactions),
    fees: () => client.fees(),
    findOutput: (position) => client.findOutput(position),
    async stop() {
      stopped = true
      await client.stop()
    },
  }
}

/** One life of a node. `node` is there when it has started. */
export interface Life {
  readonly host: SimHost
  node: Node | undefined
}

export interface World {
  readonly seed: number
  readonly sim: Simulation
  /** For what to do; the ports have sequences of their own. */
  readonly random: SeededRandom
  readonly shape: Shape
  readonly lines: string[]
  readonly broken: Broken[]
  /** A node that was started on an old copy of its data: what it says and what becomes of its own money is nobody's promise. */
  stale: Name | undefined
  /** Feerates of the ledger, times this. */
  feeMultiple: number
  say(line: string): void
  fail(detail: string): void
  idOf(name: Name): NodeId
  addressOf(name: Name): string
  life(name: Name): Life | undefined
  /** The node, when it is up. */
  node(name: Name): Node | undefined
  boot(name: Name, crashAt?: CrashPoint): void
  crash(name: Name): void
  ledgerHost(): SimHost
  engine(): LedgerEngine | undefined
  bootLedger(crashAt?: CrashPoint): void
  /** Called when a node has started, before it is used. */
  onNode: ((name: Name, node: Node) => void) | undefined
  /** Called with what a node wants in the chain. */
  onBroadcast: ((name: Name, transactions: readonly Tx[]) => void) | undefined
  /** Runs until a promise has settled. Rejections of kinds that are answers give undefined. */
  wait<T>(work: Promise<T>, label: string, forMs?: number): Promise<T | undefined>
  /** The coinbase that the bank spends first in this world. */
  readonly bank: readonly Tx[]
  readonly config: (name: Name) => NodeConfig
  readonly fundedSat: bigint
}

export const seedOf = (name: string): Uint8Array => {
  const half = sha256(new TextEncoder().encode(`simulation ${name}`))
  return concat(half, half)
}

const identities = new Map<Name, NodeId>()
const identityOf = (name: Name): NodeId => {
  let id = identities.get(name)
  if (id === undefined) {
    id = nodeIdFromPoint(pointFromSecret(createWalletKeys(seedOf(name), network).nodeSecret))
    identities.set(name, id)
  }
  return id
}

/** Words of a node's log that mean a bug: all nodes here are honest. */
const ALARMS = [
  'a fault',
  'could not be taken',
  'a record without its HTLC',
  'the peer broke a rule',
  'a message was not dealt with',
  'the peer sent',
  'bytes that the peer did not encrypt',
  'did not decode',
  'that must be understood',
  'too many pings',
  'faster than we can take',
]
/** But for these: a channel that its owner or a deadline closed, or whose opening came to nothing, is told so. */
const ANSWERS =
  /"violation":"error_received"|asked for by the operator|offered_htlc_expired|received_htlc_expiring|opening_cancelled|funding_lost|channel_is_closing|not in step with the chain/

export interface WorldOptions {
  /** Prints each line as it comes. */
  readonly onLine?: (line: string) => void
  /** With the keys and prefixes of regtest, which it is when left out. */
  readonly network?: Network
}

export const createWorld = async (seed: number, options: WorldOptions = {}): Promise<World> => {
  const shape = createShape(seed)
  const ledger = options.network ?? network
  const sim = createSimulation(seed, { ...shape, cutShare: 0 })
  const { disk, files, coinbases } = await baseChain(ledger)
  copyDisk(disk, sim.disk(LEDGER))
  const ledgerFiles = files.copy()
  const random = sim.random.fork('actions')
  const lives = new Map<Name, Life>()
  let ledgerLife: { host: SimHost; engine: LedgerEngine | undefined }

  const say = (text: string): void => {
    const line = `${((sim.now() - 1_700_000_000_000) / 1000).toFixed(3)} ${text}`
    sim.trace(line)
    world.lines.push(line)
    if (world.lines.length > KEPT_LINES) world.lines.shift()
    options.onLine?.(line)
  }
  const fail = (detail: string): void => {
    say(`BROKEN ${detail}`)
    world.broken.push(new Broken(detail))
  }

  const short = (_: string, value: unknown): unknown =>
    typeof value === 'bigint' ? `${value}` : value instanceof Uint8Array ? bytesToHex(value).slice(0, 16) : value
  const logOf = (name: string): Log => {
    const at = (level: string) => (data: object, message: string) => {
      say(`${name} ${level} ${message} ${JSON.stringify(data, short)}`)
      if (lives.get(name as Name)?.host.alive === false) return
      const text = `${message} ${JSON.stringify(data, short)}`
      const { stale } = world
      if (stale !== undefined && (name === stale || text.includes(identityOf(stale)))) return
      if (ALARMS.some((alarm) => text.includes(alarm)) && !ANSWERS.test(text)) fail(`${name}: ${text}`)
    }
    return { debug: at('debug'), info: at('info'), warn: at('warn'), error: at('error') }
  }

  const config = (name: Name): NodeConfig => ({
    network: ledger,
    seed: seedOf(name),
    alias: name,
    announce: [],
    relay: { feeBaseMsat: 1000, feeProportionalMillionths: 100, cltvExpiryDelta: 30 },
    minimumDepthBlocks: shape.depth,
    policy: { toSelfDelayBlocks: 10 },
  })

  const boot = (name: Name, crashAt?: CrashPoint): void => {
    say(`boot ${name}${crashAt === undefined ? '' : ` to crash ${crashAt.when} write ${crashAt.write}`}`)
    const host = sim.boot(name, crashAt)
    const life: Life = { host, node: undefined }
    lives.set(name, life)
    const source = linkOver(host, ledger)
    const chain: ChainSource = {
      ...source,
      broadcast(transactions) {
        world.onBroadcast?.(name, transactions)
        return source.broadcast(transactions)
      },
    }
    const start = async (): Promise<void> => {
      const node = await createNode(
        {
          store: host.store,
          clock: host.clock,
          random: host.random,
          net: host.net,
          chain,
          log: logOf(name),
          onFault: (fault) => fail(`${name}: fault ${fault instanceof Error ? fault.stack : String(fault)}`),
        },
        config(name),
      )
      world.onNode?.(name, node)
      life.node = node
      await node.listen(addressOf(name))
      say(`${name} is up`)
    }
    start().catch((error: unknown) => fail(`${name} does not start: ${error instanceof Error ? error.stack : String(error)}`))
  }

  const addressOf = (name: Name): string => `${name}:9735`

  const bootLedger = (crashAt?: CrashPoint): void => {
    const host = sim.boot(LEDGER, crashAt)
    const life: { host: SimHost; engine: LedgerEngine | undefined } = { host, engine: undefined }
    ledgerLife = life
    say('boot ledger')
    const start = async (): Promise<void> => {
      const engine = await createLedgerEngine({
        store: host.store,
        directory: ledgerFiles.open(),
        network: ledger,
        clock: host.clock,
      })
      life.engine = engine
      const source: LedgerSource = {
        ...engine,
        async fees() {
          const { feeratePerKw, minimumFeeratePerKw } = await engine.fees()
          const times = (rate: number): number => Math.max(minimumFeeratePerKw, Math.round(rate * world.feeMultiple))
          return {
            feeratePerKw: {
              2: times(feeratePerKw[2]),
              6: times(feeratePerKw[6]),
              12: times(feeratePerKw[12]),
              144: feeratePerKw[144],
            } as typeof feeratePerKw,
            minimumFeeratePerKw,
          }
        },
      }
      await host.net.listen(LEDGER_ADDRESS, (connection) => {
        let session: LineEnd | undefined
        const send = framed(connection, (frame) => session?.receive(frame))
        const line: Line = { send, close: () => connection.close() }
        session = linkServer({ source, genesis: ledgerId(ledger), line, clock: host.clock })
        connection.onClose((reason) => session?.closed(reason))
      })
      say('ledger is up')
    }
    start().catch((error: unknown) => fail(`the ledger does not start: ${error instanceof Error ? error.stack : String(error)}`))
  }

  const wait = async <T>(work: Promise<T>, label: string, forMs = 30_000): Promise<T | undefined> => {
    let settled = false
    let value: T | undefined
    work.then(
      (result) => {
        value = result
        settled = true
      },
      (error: unknown) => {
        say(`${label}: ${error instanceof Refused ? `refused ${error.code}` : String(error)}`)
        settled = true
      },
    )
    await sim.run({ until: () => settled, forMs })
    return value
  }

  const world: World = {
    seed,
    sim,
    random,
    shape,
    lines: [],
    broken: [],
    stale: undefined,
    feeMultiple: 1,
    say,
    fail,
    idOf: identityOf,
    addressOf,
    life: (name) => lives.get(name),
    node: (name) => {
      const life = lives.get(name)
      return life?.host.alive === true ? life.node : undefined
    },
    boot,
    crash: (name) => lives.get(name)?.host.crash(),
    ledgerHost: () => ledgerLife.host,
    engine: () => (ledgerLife.host.alive ? ledgerLife.engine : undefined),
    bootLedger,
    onNode: undefined,
    onBroadcast: undefined,
    wait,
    bank: coinbases,
    config,
    fundedSat: COINS_SAT.reduce((sum, amount) => sum + amount, 0n),
  }
  say(`seed ${seed} ${JSON.stringify(shape)}`)
  return world
}

export type Shape = ReturnType<typeof createShape>
/** What the lines and the disks of a world are like. */
const createShape = (seed: number) => {
  const random = createSimulation(seed).random.fork('shape')
  const slow = random.chance(0.3)
  return {
    leastDelayMs: 1,
    mostDelayMs: slow ? 200 : 20,
    mostWriteMs: random.pick([0, 4, 30]),
    splitShare: random.pick([0, 0.2, 0.5]),
    cutShare: random.pick([0, 0, 0.002, 0.01]),
    depth: random.pick([1, 2, 3]),
  }
}

/** Mines `count` blocks of the mempool and lets the network have a while for each. */
export const mine = async (world: World, count: number, restMs: number): Promise<void> => {
  for (let i = 0; i < count; i++) {
    const engine = world.engine()
    if (engine === undefined) return
    await world.wait(engine.generateToAddress(1, BANK_SCRIPT), 'mine')
    await world.sim.run({ forMs: restMs })
  }
}

/** Sends each node its first coins: one transaction of the bank, mined. */
export const fundNodes = async (world: World): Promise<void> => {
  const engine = world.engine()
  const coinbase = world.bank[0] as Tx
  const outputs = []
  for (const name of NAMES) {
    const keys = createWalletKeys(seedOf(name), network)
    for (const [index, value] of COINS_SAT.entries())
      outputs.push({
        value: Sat(value),
        scriptPubKey: keys.scriptPubKey({ kind: index % 2 ? 'p2tr' : 'p2wpkh', change: 0, index }),
      })
  }
  const total = outputs.reduce((sum, { value }) => sum + value, 0n)
  const tx: Tx = {
    version: 2,
    inputs: [
      {
        outpoint: { txid: txid(coinbase), vout: 0 },
        scriptSig: new Uint8Array(0),
        sequence: 0xffff_fffd,
        witness: [TRUE_SCRIPT],
      },
    ],
    outputs: [...outputs, { value: Sat((coinbase.outputs[0]?.value ?? 0n) - total - 10_000n), scriptPubKey: BANK_SCRIPT }],
    lockTime: 0,
  }
  if (engine === undefined) throw new Broken('the ledger is not up')
  await world.wait(engine.generateBlock(BANK_SCRIPT, [tx]), 'fund')
}
