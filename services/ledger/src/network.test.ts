import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { pointFromSecret, taprootTweakPoint, xOnlyFromPoint } from '@leyden/crypto'
import {
  blockHash,
  encodeWif,
  forkIdAt,
  multisigScript,
  networks,
  p2pkhOf,
  p2shOf,
  p2tr,
  p2wpkhOf,
  p2wshOf,
  Sat,
  SIGHASH,
  txid,
  type Block,
  type BlockHash,
  type Network,
  type Tx,
} from '@leyden/bitcoin'
import { findNonce } from '@leyden/ledger'
import { memoryStore, type Store } from '@leyden/runtime'
import { afterAll, describe, expect, it } from 'vitest'
import { startLedger } from './daemon.ts'
import { FileDisk } from './memory-directory.ts'
import { createLedgerEngine, type LedgerEngine } from './engine.ts'
import { networkOf, readNetworkFile } from './network.ts'
import { newNetworkFile } from './new-network.ts'
import { signInput } from './rpc/sign.ts'
import { ANYONE, outputOf, pay, virtualClock } from './testing.ts'

const directory = mkdtempSync(join(tmpdir(), 'leyden-network-'))
afterAll(() => rmSync(directory, { recursive: true }))

const SECRETS = [11, 12, 13].map((n) => new Uint8Array(32).fill(n)) as [Uint8Array, Uint8Array, Uint8Array]
const POINTS = SECRETS.map(pointFromSecret) as [Uint8Array, Uint8Array, Uint8Array]
const NOW = 1_740_000_000
const FORK_HEIGHT = 120

type Flags = Parameters<typeof newNetworkFile>[0]
/** The path of a file that new-network makes with these flags. */
const fileFor = (flags: Flags & { readonly name: string }): string => {
  const path = join(directory, `${flags.name}.json`)
  writeFileSync(path, JSON.stringify(newNetworkFile(flags, NOW).file))
  return path
}
const BASE = fileFor({ name: 'base', proofOfWorkLimit: '207fffff' })
const [OLD, EAST, WEST] = [
  BASE,
  ...['east', 'west'].map((name) => fileFor({ name, forkOf: BASE, forkHeight: String(FORK_HEIGHT) })),
].map((path) => readNetworkFile(path)) as [Network, Network, Network]

type Disks = { readonly store: Store; readonly files: FileDisk }
const freshDisks = (): Disks => ({ store: memoryStore(), files: new FileDisk() })
const open = (network: Network, { store, files } = freshDisks()): Promise<LedgerEngine> =>
  createLedgerEngine({ store, directory: files.open(), network, clock: virtualClock() })
const blockAt = async (engine: LedgerEngine, height: number): Promise<Block> =>
  (await engine.blockByHash(engine.hashAtHeight(height as never) as BlockHash)) as Block

const TWO_OF_THREE = multisigScript(2, POINTS)
/** Every way to ask for a signature that wallets and RPC know. */
const KINDS = [
  p2pkhOf(POINTS[0]),
  p2shOf(TWO_OF_THREE),
  p2wpkhOf(POINTS[0]),
  p2shOf(p2wpkhOf(POINTS[0])),
  p2wshOf(TWO_OF_THREE),
  p2tr(taprootTweakPoint(xOnlyFromPoint(POINTS[0])).xonly),
]

/** A payment of a coinbase, signed for the fork that the network has at this height. */
const paymentFrom = (coinbase: Tx, network: Network, height: number): Tx => {
  const [spent] = coinbase.outputs as [Tx['outputs'][number]]
  const tx = pay([{ ...outputOf(coinbase), witness: [] }], [spent.value - 1000n], { scriptPubKey: p2wpkhOf(POINTS[0]) })
  const keys = SECRETS.map((secret, i) => ({ secret, point: POINTS[i]! }))
  const options = { keys, scripts: [TWO_OF_THREE], copies: [], sighashType: SIGHASH.default, forkId: forkIdAt(network, height) }
  return { ...tx, inputs: [signInput(tx, 0, [spent], options)] }
}

/** Engines of the old ledger and its two forks, all at the last block before the fork, with the coinbases that may be spent. */
const atTheFork = async () => {
  const [old, east, west] = (await Promise.all([OLD, EAST, WEST].map((network) => open(network)))) as [
    LedgerEngine,
    LedgerEngine,
    LedgerEngine,
  ]
  for (let height = 1; height < FORK_HEIGHT; height++) await old.generateToAddress(1, KINDS[height % KINDS.length]!)
  const coinbases: Tx[] = []
  for (let height = 1; height < FORK_HEIGHT; height++) {
    const block = await blockAt(old, height)
    coinbases.push(block.transactions[0]!)
    for (const fork of [east, west]) expect(await fork.submitBlock(block)).toEqual({ status: 'connected' })
  }
  return { old, east, west, coinbases }
}

const reasonOf = async (engine: LedgerEngine, block: Block): Promise<string> => {
  const outcome = await engine.submitBlock(block)
  return outcome.status === 'rejected' ? outcome.violation.reason : outcome.status
}

describe('forks of one ledger', () => {
  it('share the history up to the height, and from then on no transaction and no block', async () => {
    const { old, east, west, coinbases } = await atTheFork()
    const ledgers = { old, east, west }
    const networkOfLedger = { old: OLD, east: EAST, west: WEST }
    for (const [i, name] of (['old', 'east', 'west'] as const).entries()) {
      for (const [kind] of KINDS.entries()) {
        const tx = paymentFrom(coinbases[i * KINDS.length + kind]!, networkOfLedger[name], FORK_HEIGHT)
        for (const other of ['old', 'east', 'west'] as const) {
          const { status, rejection } = await ledgers[other].submitTransaction(tx, { dryRun: true })
          const expected = other === name ? 'accepted' : 'mandatory-script-verify-flag-failed'
          expect(rejection?.reason ?? status).toContain(expected)
        }
        expect((await ledgers[name].submitTransaction(tx)).status).toBe('accepted')
      }
    }
    const foreign = paymentFrom(coinbases[0]!, WEST, FORK_HEIGHT)
    await expect(east.generateBlock(ANYONE, [foreign])).rejects.toThrow('mandatory-script-verify-flag-failed')
    // Blocks with payments, and blocks that sign nothing.
    for (const name of ['old', 'east', 'west'] as const) {
      const [hash] = (await ledgers[name].generateToAddress(1, ANYONE)) as [BlockHash]
      const full = (await ledgers[name].blockByHash(hash)) as Block
      expect(full.transactions).toHaveLength(1 + KINDS.length)
      await ledgers[name].invalidateBlock(hash)
      const empty = await ledgers[name].generateBlock(ANYONE, [])
      for (const block of [full, empty])
        for (const other of ['old', 'east', 'west'] as const) {
          if (other === name) continue
          expect(await reasonOf(ledgers[other], block)).toBe(
            other === 'old' ? `bad-version(0x${(block.header.version >>> 0).toString(16)})` : 'bad-fork-version',
          )
        }
    }
  })

  it('judge what waits anew when the tip crosses the height, up and down', async () => {
    const { east, coinbases } = await atTheFork()
    const below = await blockAt(east, FORK_HEIGHT - 1)
    await east.invalidateBlock(blockHash(below.header))
    const early = paymentFrom(coinbases[0]!, EAST, FORK_HEIGHT - 1)
    const late = paymentFrom(coinbases[1]!, EAST, FORK_HEIGHT)
    const mempool = (): string[] => east.mempool().map(txid)
    const tell = async (tx: Tx): Promise<string> => (await east.submitTransaction(tx)).status
    expect([await tell(early), await tell(late), mempool()]).toEqual(['accepted', 'rejected', [txid(early)]])
    // The last block of the old rules leaves it out: now the next block has the fork's.
    await east.generateBlock(ANYONE, [])
    expect(mempool()).toEqual([])
    expect([await tell(early), await tell(late), mempool()]).toEqual(['rejected', 'accepted', [txid(late)]])
    const tip = east.tip().hash
    await east.invalidateBlock(tip)
    expect([mempool(), await tell(early)]).toEqual([[], 'accepted'])
    await east.generateToAddress(1, ANYONE)
    expect(await tell(late)).toBe('accepted')
    const [hash] = (await east.generateToAddress(1, ANYONE)) as [BlockHash]
    expect((await blockAt(east, FORK_HEIGHT)).transactions.map(txid)).toContain(txid(late))
    // A reorganisation below the height takes both back; only the one of the old rules may wait.
    await east.invalidateBlock(hash)
    expect(mempool()).toEqual([txid(late)])
    await east.invalidateBlock(east.tip().hash)
    expect(mempool()).toEqual([txid(early)])
  })
})

describe('a store', () => {
  it('of another network is refused, and of the ledger before a fork is taken over until the height', async () => {
    const other = newNetworkFile({ name: 'other', proofOfWorkLimit: '207fffff' }, NOW + 1).network
    const faster: Network = { ...OLD, name: 'faster', targetSpacingSeconds: 1 }
    const store = freshDisks()
    const engine = await open(OLD, store)
    await engine.generateToAddress(FORK_HEIGHT - 1, ANYONE)
    await engine.close()
    await expect(open(other, store)).rejects.toThrow('holds the chain of base, not of other')
    await expect(open(faster, store)).rejects.toThrow('under other rules than those of faster')
    const again = await open(OLD, store)
    await again.generateToAddress(1, ANYONE)
    await again.invalidateBlock(again.tip().hash)
    await again.close()
    await expect(open(EAST, store)).rejects.toThrow(`at the fork's height ${FORK_HEIGHT} already`)

    const young = freshDisks()
    await (await open(OLD, young)).generateToAddress(3, ANYONE)
    const fork = await open(EAST, young)
    expect(fork.tip().height).toBe(3)
    expect((await blockAt(fork, 2)).header.previousHash).toBe(fork.hashAtHeight(1 as never))
    await fork.invalidateBlock(fork.hashAtHeight(2 as never) as BlockHash)
    await fork.generateToAddress(3, ANYONE)
    expect(fork.tip().height).toBe(4)
    await expect(open(OLD, young)).rejects.toThrow(`holds the fork ${EAST.fork?.id} of east`)
    await expect(open(WEST, young)).rejects.toThrow(`holds the fork ${EAST.fork?.id} of east`)
  })
})

describe('a ledger with rules of its own', () => {
  it('sets its difficulty by its own interval, and halves its own subsidy', async () => {
    const { network } = newNetworkFile(
      { name: 'quick', proofOfWorkLimit: '207fffff', blockInterval: '10', subsidy: '700', halving: '15' },
      NOW,
    )
    const clock = virtualClock(NOW * 1000)
    const { store, files } = freshDisks()
    const rules = { ...network, targetTimespanSeconds: 100 }
    const engine = await createLedgerEngine({ store, directory: files.open(), network: rules, clock })
    for (let i = 0; i < 30; i++) {
      clock.advance(2000)
      await engine.generateToAddress(1, ANYONE)
    }
    const blocks = await Promise.all([1, 9, 10, 14, 15, 20, 30].map((height) => blockAt(engine, height)))
    // Ten blocks in a fifth of their time: four times the work, the most that one step allows.
    const easiest = 0x207fffff
    expect(blocks.map(({ header }) => header.bits)).toEqual([
      easiest,
      easiest,
      ...Array(3).fill(0x201fffff),
      0x2007ffff,
      0x2001ffff,
    ])
    expect(blocks.map(({ transactions }) => transactions[0]!.outputs[0]!.value)).toEqual([
      700n,
      700n,
      700n,
      700n,
      350n,
      350n,
      175n,
    ])
  })
})

describe('work for a block', () => {
  it('lets others have their turn in between', async () => {
    const { network } = newNetworkFile({ name: 'work' }, NOW)
    const engine = await open(network)
    let nonce = 0
    let turns = 0
    // Until a block takes many tries; each does with a chance of a half.
    for (let height = 1; nonce < 60_000; height++) {
      turns = 0
      let working = true
      const turn = (): void => {
        turns++
        if (working) setImmediate(turn)
      }
      setImmediate(turn)
      await engine.generateToAddress(1, ANYONE)
      working = false
      nonce = (await blockAt(engine, height)).header.nonce
    }
    expect(turns).toBeGreaterThanOrEqual(3)
  })
})

describe('signed blocks', () => {
  const path = fileFor({
    name: 'signed',
    signers: POINTS.map(bytesToHex).join(','),
    threshold: '1',
    subsidy: '1000',
    halving: 'never',
  })

  it('are made by a daemon that has a key, taken by one that has none, and refused without the signature', async () => {
    const network = readNetworkFile(path)
    const settings = { networkFile: path, rpcPort: 0, p2pPort: 0, linkPort: 0 }
    const signer = await startLedger({
      ...settings,
      datadir: join(directory, 'a'),
      signingKeys: [encodeWif(SECRETS[1], network)],
    })
    const follower = await startLedger({ ...settings, datadir: join(directory, 'b') })
    try {
      await signer.engine.generateToAddress(3, ANYONE)
      for (const height of [1, 2, 3])
        expect(await follower.engine.submitBlock(await blockAt(signer.engine, height))).toEqual({ status: 'connected' })
      expect((await blockAt(signer.engine, 3)).transactions[0]!.outputs[0]!.value).toBe(1000n)
      await expect(follower.engine.generateToAddress(1, ANYONE)).rejects.toThrow('signingKeys holds too few keys')
      const unsigned = findNonce((await follower.engine.template(ANYONE)).block) as Block
      expect(await reasonOf(follower.engine, unsigned)).toBe('bad-signet-blksig')
    } finally {
      await Promise.all([signer.stop(), follower.stop()])
    }
    await expect(startLedger({ datadir: join(directory, 'a'), rpcPort: 0, p2pPort: 0 })).rejects.toThrow(
      'holds the chain of signed, not of regtest',
    )
  })

  it('need a key of this network', async () => {
    const wrong = startLedger({ networkFile: path, datadir: directory, signingKeys: [encodeWif(SECRETS[0], networks.mainnet)] })
    await expect(wrong).rejects.toThrow('signingKeys: key 1 is a private key of another network')
    const useless = startLedger({ datadir: directory, signingKeys: [encodeWif(SECRETS[0], networks.regtest)] })
    await expect(useless).rejects.toThrow('the blocks of regtest are not signed')
  })
})

describe('new-network', () => {
  const make = (flags: Flags) => newNetworkFile({ name: 'harbour', proofOfWorkLimit: '207fffff', ...flags }, NOW)

  it('makes a file that reads back as a network of its own, never twice the same', () => {
    const [one, two] = [make({}), make({})]
    expect(one.file.magic).not.toBe(two.file.magic)
    const { network } = make({ blockInterval: '30', subsidy: '7', halving: 'never', p2pPort: '7777' })
    expect(network).toMatchObject({
      targetSpacingSeconds: 30,
      initialSubsidy: Sat(7n),
      port: 7777,
      rpcPort: 7778,
      bolt11Prefix: 'harbour',
    })
  })

  it('makes forks that differ from each other and from what they fork', () => {
    expect([OLD, EAST, WEST].map(({ genesis }) => blockHash(genesis.header))).toEqual(
      Array(3).fill(blockHash(OLD.genesis.header)),
    )
    expect(new Set([OLD, EAST, WEST].map(({ magic }) => bytesToHex(magic))).size).toBe(3)
    expect(EAST.fork).toEqual({ id: expect.any(Number), height: FORK_HEIGHT })
    expect([OLD, EAST, WEST].map(({ bolt11Prefix }) => bolt11Prefix)).toEqual(['base', 'east', 'west'])
  })

  it.each<[Flags, string]>([
    [{ name: 'Harbour' }, 'name: must be 2 to 32'],
    [{ blockInterval: 'soon' }, '--block-interval: must be a whole number, not soon'],
    [{ signers: '02ff' }, '--signers: 02ff is no public key'],
    [{ signers: `${bytesToHex(POINTS[0])},${bytesToHex(POINTS[0])}` }, '--signers: a key stands there twice'],
    [{ signers: bytesToHex(POINTS[0]), threshold: '2' }, '--threshold: must be 1 to 1'],
    [{ threshold: '1' }, '--threshold: says how many of the --signers sign'],
    [{ forkOf: BASE }, '--fork-height: say at which height'],
    [{ forkOf: '/nowhere/at/all.json', forkHeight: '5' }, '/nowhere/at/all.json is not there'],
  ])('says what is wrong: %j', (flags, expected) => {
    expect(() => make(flags)).toThrow(expected)
  })
})

describe('the network of a configuration', () => {
  const chosen = { network: 'signet', networkFile: undefined, signetChallenge: undefined } as const
  it('may be a signet with another challenge', () => {
    expect(networkOf(chosen)).toBe(networks.signet)
    const own = networkOf({ ...chosen, signetChallenge: '51' })
    expect([own.signetChallenge, own.name]).toEqual([hexToBytes('51'), 'signet'])
  })

  it('is refused with the file and the field when the file is wrong', () => {
    const path = join(directory, 'wrong.json')
    writeFileSync(path, readFileSync(BASE, 'utf8').replace('"p2p":', '"p2q":'))
    expect(() => readNetworkFile(path)).toThrow(`${path}: ports.p2p: must be a whole number`)
    writeFileSync(path, '{')
    expect(() => readNetworkFile(path)).toThrow(`${path}: is not JSON: `)
  })
})
