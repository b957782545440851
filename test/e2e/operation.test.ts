/**
 * What an operator meets: a directory in use, a port taken, a wrong setting, a ledger that is away, a full disk; and peers that send bytes
 * which no decoder accepts. A clear message, a safe stop or wait; channels and processes live on.
 */
import { spawnSync } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import { cpSync, mkdirSync, mkdtempSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { connect, createServer, type Socket } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { unwrap } from '@leyden/api/client'
import { chainHash, networks } from '@leyden/bitcoin'
import { createLightningNode, freePort, type LightningNode, waitFor } from '@leyden/devnet-service'
import { createPeer, offeredFeatures, type Message, NodeId, type Peer, type PeerEffect } from '@leyden/lnwire'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import {
  channelOf,
  channelWhere,
  createWorld,
  invoice,
  onchain,
  pay,
  payLater,
  paymentEnd,
  settled,
  type World,
} from './world.ts'

const PLAN = { capacitySat: 1_000_000, pushMsat: 400_000_000 }
const UNKNOWN_EVEN = 60_000

/** A peer of our making that says what it likes. */
interface Stranger {
  readonly heard: Message[]
  readonly closed: Promise<void>
  send(raw: Uint8Array): void
  end(): void
}

const stranger = async (node: LightningNode): Promise<Stranger> => {
  const [host, port] = node.peerAddress.split(':') as [string, string]
  const remoteNodeId = NodeId(await node.nodeId())
  const socket: Socket = connect(Number(port), host)
  const peer: Peer = createPeer({
    role: 'initiator',
    remoteNodeId,
    localSecret: randomBytes(32),
    ephemeralSecret: randomBytes(32),
    localFeatures: offeredFeatures('init'),
    chainHash: chainHash(networks.regtest),
    nowMs: Date.now(),
  })
  const heard: Message[] = []
  const closed = new Promise<void>((resolve) => socket.once('close', () => resolve()))
  socket.on('error', () => {})
  return await new Promise((resolve, reject) => {
    const found: Stranger = {
      heard,
      closed,
      send: (raw) => perform(peer.step({ from: 'owner', type: 'sendRaw', raw })),
      end: () => socket.destroy(),
    }
    const perform = (effects: readonly PeerEffect[]): void => {
      for (const effect of effects)
        switch (effect.type) {
          case 'write':
            socket.write(effect.bytes)
            break
          case 'close':
            socket.end()
            break
          case 'ready':
            resolve(found)
            break
          case 'message':
            heard.push(effect.message)
            break
          case 'closed':
            reject(new Error(effect.reason.code))
            break
        }
    }
    socket.once('connect', () => perform(peer.start()))
    socket.once('close', () => perform(peer.step({ from: 'peer', type: 'disconnected' })))
    socket.on('data', (bytes) => perform(peer.step({ from: 'peer', type: 'bytes', bytes: new Uint8Array(bytes) })))
  })
}

/** A small disk of its own for a directory: it takes root. */
const mount = (directory: string): boolean =>
  spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=160m', 'tmpfs', directory], { stdio: 'ignore' }).status === 0
const unmount = (directory: string): void => void spawnSync('umount', [directory], { stdio: 'ignore' })
const canMount = ((): boolean => {
  const directory = mkdtempSync(join(tmpdir(), 'leyden-mount-'))
  const mounted = mount(directory)
  if (mounted) unmount(directory)
  rmSync(directory, { recursive: true, force: true })
  return mounted
})()
if (!canMount) process.stdout.write('the full disk is skipped: no file system can be mounted here\n')

describe('in operation', () => {
  let world: World
  let alice: LightningNode
  let bob: LightningNode
  let funding: string

  beforeAll(async () => {
    world = await createWorld()
    ;[alice, bob] = await Promise.all([world.node('alice'), world.node('bob')])
    await world.fund(alice)
    funding = (await world.channel(alice, bob, PLAN)).fundingTxid as string
  })
  afterAll(() => world?.close())

  /** The channel lives: the outcome of a payment over it. */
  const pays = async (): Promise<string> => {
    const { status } = await pay(alice, (await invoice(bob, 12_000)).bolt11)
    await settled([alice, bob], funding)
    return status
  }

  const another = async (more: Partial<Parameters<typeof createLightningNode>[0]>): Promise<string> => {
    const node = createLightningNode({
      name: 'other',
      datadir: join(world.directory, 'other'),
      logFile: join(world.directory, 'other.log'),
      apiPort: await freePort(),
      peerPort: await freePort(),
      ledger: world.ledger,
      ...more,
    })
    try {
      await node.daemon.start()
    } catch (error) {
      return (error as Error).message
    }
    await node.daemon.stop()
    return 'it started'
  }

  it('a data directory in use is refused', async () => {
    const said = await another({ datadir: alice.datadir })
    expect(said).toMatch(/ended with code 1/)
    expect(said).toContain(`in use by process ${alice.daemon.pid}`)
    expect(await pays()).toBe('succeeded')
  })

  it('a port that is taken is named', async () => {
    const server = createServer()
    const port = await freePort()
    await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve))
    for (const [ports, flag] of [
      [{ apiPort: port }, '--api'],
      [{ peerPort: port }, 'listen'],
    ] as const) {
      const said = await another(ports)
      expect(said).toMatch(/ended with code 1/)
      expect(said).toContain(`127.0.0.1:${port}`)
      expect(said).toContain(flag)
    }
    await new Promise((resolve) => server.close(resolve))
    expect(await another({})).toBe('it started')
  })

  it('a wrong setting is named, and where it came from', async () => {
    expect(await another({ args: ['--feeBaseMsat=-5'] })).toMatch(/feeBaseMsat \(from --fee-?base-?msat\)/i)
    expect(await another({ env: { LEYDEN_MINIMUM_DEPTH: 'soon' } })).toMatch(/minimumDepth \(from LEYDEN_MINIMUM_DEPTH\)/)
  })

  it('a ledger that is away is waited for; payments go on', async () => {
    const ready = async () => {
      const response = await fetch(`${alice.url}/ready`)
      return { status: response.status, ...((await response.json()) as { ready: boolean; reason?: string }) }
    }
    expect(await ready()).toMatchObject({ status: 200, ready: true })
    await world.ledger.daemon.kill()
    await waitFor('not ready', async () => (await ready()).status === 503)
    expect((await ready()).reason).toMatch(/ledger/)
    expect(await pays()).toBe('succeeded')
    const { address } = await unwrap(bob.client.v1.addresses.$post({ json: { type: 'p2wpkh' } }))
    await expect(unwrap(alice.client.v1.transactions.$post({ json: { address, amountSat: 10_000 } }))).rejects.toMatchObject({
      code: 'syncing',
    })
    // A restart without the ledger works as well: the node is up, and says what it waits for.
    await bob.daemon.kill()
    await bob.daemon.start()
    await channelWhere(alice, funding, 'bob again', ({ peer }) => peer.connected)
    expect(await pays()).toBe('succeeded')
    await world.ledger.daemon.start()
    await waitFor('ready again', async () => (await ready()).ready, { timeoutMs: 90_000 })
    await world.mine(1)
    expect(await pays()).toBe('succeeded')
  })

  it.skipIf(!canMount)('a full disk stalls a node, and loses nothing', async () => {
    const before = (await channelOf(alice, funding)).localMsat
    await alice.daemon.stop()
    const aside = `${alice.datadir}-aside`
    renameSync(alice.datadir, aside)
    mkdirSync(alice.datadir, { mode: 0o700 })
    expect(mount(alice.datadir)).toBe(true)
    try {
      cpSync(aside, alice.datadir, { recursive: true })
      await alice.daemon.start()
      await channelWhere(alice, funding, 'alice again', ({ peer }) => peer.connected)
      const ballast = join(alice.datadir, 'ballast')
      writeFileSync(ballast, new Uint8Array(100 * 1024 * 1024))
      const { bolt11 } = await invoice(bob, 13_000)
      const paying = payLater(alice, bolt11).catch((error: unknown) => error)
      await waitFor('a node that says that the disk is full', async () => {
        const response = await fetch(`${alice.url}/ready`)
        return response.status === 503 && ((await response.json()) as { reason: string }).reason.includes('disk')
      })
      rmSync(ballast)
      const payment = await paying
      expect(payment).not.toBeInstanceOf(Error)
      expect(await paymentEnd(alice, (payment as { id: string }).id)).toMatchObject({ status: 'succeeded' })
      await settled([alice, bob], funding)
      expect((await channelOf(alice, funding)).localMsat).toBe(before - 13_000)
      await alice.daemon.stop()
      rmSync(aside, { recursive: true })
      cpSync(alice.datadir, aside, { recursive: true })
    } finally {
      await alice.daemon.stop()
      unmount(alice.datadir)
      rmSync(alice.datadir, { recursive: true, force: true })
      renameSync(aside, alice.datadir)
    }
    await alice.daemon.start()
    await channelWhere(alice, funding, 'alice again', ({ peer }) => peer.connected)
    expect(await pays()).toBe('succeeded')
  })

  it('garbage from the network ends that connection and nothing else', async () => {
    const [host, port] = alice.peerAddress.split(':') as [string, string]
    for (const bytes of [randomBytes(50), randomBytes(5000), Buffer.alloc(50)]) {
      const socket = connect(Number(port), host)
      socket.on('error', () => {})
      socket.on('data', () => {})
      socket.write(bytes)
      await new Promise<void>((resolve) => socket.once('close', () => resolve()))
    }
    expect(await pays()).toBe('succeeded')
  })

  it('messages that cannot be read end the connection; unknown odd ones do not', async () => {
    const u16 = (n: number): Uint8Array => Uint8Array.of(n >> 8, n & 0xff)
    const message = (type: number, ...rest: Uint8Array[]): Uint8Array => Buffer.concat([u16(type), ...rest])
    const bad: Readonly<Record<string, Uint8Array>> = {
      'an unknown even type': message(UNKNOWN_EVEN, randomBytes(10)),
      'a ping that says more than it has': message(18, u16(1), u16(60_000)),
      'a truncated update_add_htlc': message(128, randomBytes(40)),
      'an open_channel of noise': message(32, randomBytes(319)),
      'a second init': message(16, u16(0), u16(0)),
      'a message without a type': Uint8Array.of(1),
      'a compressed reply_channel_range': message(
        264,
        chainHash(networks.regtest),
        randomBytes(9),
        u16(5),
        Uint8Array.of(1, 2, 3, 4, 5),
      ),
    }
    for (const [what, raw] of Object.entries(bad)) {
      const one = await stranger(alice)
      one.send(raw)
      await Promise.race([one.closed, waitFor(`the end after ${what}`, () => false, { timeoutMs: 10_000 })])
    }
    const one = await stranger(alice)
    one.send(message(UNKNOWN_EVEN + 1, randomBytes(10)))
    one.send(message(263, chainHash(networks.regtest), new Uint8Array(4), Uint8Array.of(0, 0, 1, 0)))
    await waitFor('an answer to a query', () => one.heard.some(({ type }) => type === 'reply_channel_range'))
    one.end()
    expect(await pays()).toBe('succeeded')
  })

  it('a stranger who speaks of our channel gets an error, and the channel lives', async () => {
    const { channelId } = await channelOf(alice, funding)
    const one = await stranger(alice)
    const id = Buffer.from(channelId, 'hex')
    // shutdown (38) and error (17) for a channel that is not this peer's.
    one.send(Buffer.concat([Uint8Array.of(0, 38), id, Uint8Array.of(0, 22, 0, 20), randomBytes(20)]))
    one.send(Buffer.concat([Uint8Array.of(0, 17), id, Uint8Array.of(0, 2, 0x68, 0x69)]))
    // channel_reestablish (136) is answered: there is no such channel between us.
    const numbers = new Uint8Array(16)
    numbers[7] = 1
    const point = Buffer.from(await bob.nodeId(), 'hex')
    one.send(Buffer.concat([Uint8Array.of(0, 136), id, numbers, new Uint8Array(32), point]))
    await waitFor('an error', () => one.heard.some((message) => message.type === 'error' && message.channelId === channelId))
    one.end()
    expect((await channelOf(alice, funding)).state).toBe('normal')
    expect(await pays()).toBe('succeeded')
    expect((await onchain(alice)).unconfirmedSat).toBe(0)
  })
})
