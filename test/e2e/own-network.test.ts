/**
 * A ledger of one's own, from the command line that makes its file to channels on it: two organisations, each with a ledger and a
 * Lightning node; blocks are signed; the ledger is a fork of an older one, so every signature must commit to its id.
 */
import { execFileSync } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { unwrap } from '@leyden/api/client'
import { encodeAddress, OP, p2wshOf } from '@leyden/bitcoin'
import { networkFromText } from '@leyden/bitcoin/network-file'
import {
  awaitTip,
  createLedgerNode,
  createLightningNode,
  freePort,
  type LedgerNode,
  type LightningNode,
  openChannel,
} from '@leyden/devnet-service'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { channelsOf, channelWhere, invoice, onchain, pay, waitFor } from './world.ts'

const PROGRAM = fileURLToPath(new URL('../../services/ledger/src/main.ts', import.meta.url))
const directory = mkdtempSync(join(tmpdir(), 'leyden-own-'))
const cli = (...args: readonly string[]): string =>
  execFileSync(process.execPath, ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx'), PROGRAM, ...args], {
    cwd: directory,
    encoding: 'utf8',
  })
const newKey = (): { point: string; wif: string } => {
  const [, point, wif] = /public key: +([0-9a-f]{66})[^]*signing key: (\w+)/.exec(cli('new-key')) as unknown as [
    string,
    string,
    string,
  ]
  return { point, wif }
}

const FORK_HEIGHT = 5
const file = join(directory, 'harbour.json')

let ledgers: readonly [LedgerNode, LedgerNode]
let alice: LightningNode
let bob: LightningNode
let nobody: string

/** Each organisation makes blocks in its turn, so many at once, and all have seen them. */
const mine = async (blocks: number, address: string = nobody, atOnce = 1): Promise<void> => {
  for (let i = 0; i < blocks; i += atOnce) {
    const [from, to] = (i / atOnce) % 2 === 0 ? ledgers : [ledgers[1], ledgers[0]]
    await from.rpc.mine(atOnce, address)
    const hash = await from.rpc.bestHash()
    await waitFor('the block at the other ledger', async () => (await to.rpc.bestHash()) === hash)
  }
}
const seen = async (): Promise<void> => {
  await awaitTip(ledgers[0].rpc, [alice])
  await awaitTip(ledgers[1].rpc, [bob])
}

beforeAll(async () => {
  const keys = [newKey(), newKey(), newKey()]
  cli(
    'new-network',
    '--name=harbour-old',
    `--signers=${keys.map(({ point }) => point).join(',')}`,
    '--threshold=1',
    '--block-interval=10',
  )
  cli('new-network', '--name=harbour', '--fork-of=harbour-old.json', `--fork-height=${FORK_HEIGHT}`)
  const network = networkFromText(readFileSync(file, 'utf8'))
  if (!('name' in network)) throw new Error(network.join())
  nobody = encodeAddress(p2wshOf(Uint8Array.of(OP.OP_1)), network) as string
  const p2pPort = await freePort()
  const ledgerOf = async (i: number): Promise<LedgerNode> =>
    createLedgerNode({
      datadir: join(directory, `ledger-${i}`),
      rpcPort: await freePort(),
      p2pPort: i === 0 ? p2pPort : await freePort(),
      linkPort: await freePort(),
      args: [`--networkFile=${file}`, ...(i === 0 ? [] : [`--connect=127.0.0.1:${p2pPort}`])],
      env: { LEYDEN_LEDGER_SIGNING_KEYS: (keys[i] as { wif: string }).wif },
    })
  ledgers = [await ledgerOf(0), await ledgerOf(1)]
  for (const { daemon } of ledgers) await daemon.start()
  await mine(FORK_HEIGHT)
  const nodeOf = async (name: string, ledger: LedgerNode): Promise<LightningNode> =>
    createLightningNode({
      name,
      datadir: join(directory, name),
      apiPort: await freePort(),
      peerPort: await freePort(),
      ledger,
      args: [`--networkFile=${file}`],
    })
  alice = await nodeOf('alice', ledgers[0])
  bob = await nodeOf('bob', ledgers[1])
  await alice.daemon.start()
  await bob.daemon.start()
  await seen()
})
afterAll(async () => {
  await Promise.all([alice, bob].map((node) => node?.daemon.stop()))
  await Promise.all((ledgers ?? []).map(({ daemon }) => daemon.stop()))
  rmSync(directory, { recursive: true, force: true })
})

describe('a ledger of one’s own', () => {
  it('carries a channel from its opening over payments both ways to its close', async () => {
    const { address } = await unwrap(alice.client.v1.addresses.$post({ json: { type: 'p2wpkh' } }))
    expect(address.startsWith('harbour1')).toBe(true)
    await mine(2, address)
    await mine(100, nobody, 10)
    await seen()
    const { fundingTxid } = await openChannel(alice, bob, { capacitySat: 1_000_000, pushMsat: 0 })
    const funding = fundingTxid as string
    for (const { rpc } of ledgers)
      await waitFor('the funding in both mempools', async () => (await rpc.mempool()).includes(funding))
    // By the value of the channel, specs/security-model.md.
    await mine(3)
    await seen()
    for (const node of [alice, bob]) expect((await channelsOf(node))[0]?.state).toBe('opening')
    await mine(1)
    await seen()
    for (const node of [alice, bob]) await channelWhere(node, funding, 'a normal channel', ({ state }) => state === 'normal')

    const { bolt11 } = await invoice(bob, 300_000_000, 'for the harbour')
    expect(bolt11.startsWith('lnharbour')).toBe(true)
    expect(await pay(alice, bolt11)).toMatchObject({ status: 'succeeded', description: 'for the harbour' })
    expect((await pay(bob, (await invoice(alice, 100_000_000)).bolt11)).status).toBe('succeeded')

    const [channel] = await channelsOf(alice)
    const param = { channelId: channel?.channelId as string }
    await unwrap(alice.client.v1.channels[':channelId'].close.$post({ param, json: {} }))
    for (const { rpc } of ledgers) await waitFor('the close in both mempools', async () => (await rpc.mempool()).length === 1)
    await mine(1)
    await seen()
    // Less what bob pays for the closing transaction, if it is his that is mined.
    await waitFor('the money of bob', async () => (await onchain(bob)).confirmedSat > 198_000)
    expect((await onchain(bob)).confirmedSat).toBeLessThanOrEqual(200_000)
  })

  it('takes nothing from the ledger that it forked from', async () => {
    const old = createLedgerNode({
      datadir: join(directory, 'old'),
      rpcPort: await freePort(),
      p2pPort: await freePort(),
      linkPort: await freePort(),
      args: [`--networkFile=${join(directory, 'harbour-old.json')}`],
    })
    await old.daemon.start()
    try {
      const fork = ledgers[0].rpc
      const block = async (height: number): Promise<string> => fork.call('getblock', await fork.call('getblockhash', height), 0)
      for (let height = 1; height < FORK_HEIGHT; height++)
        expect(await old.rpc.call('submitblock', await block(height))).toBeNull()
      expect(await old.rpc.call('submitblock', await block(FORK_HEIGHT))).toMatch(/^bad-version\(0x8/)
    } finally {
      await old.daemon.stop()
    }
  })
})
