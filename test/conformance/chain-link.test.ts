/** The channel service's link to a real ledger daemon, over sockets: events, broadcast, refusals, and a ledger that goes and comes. */
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { networks, p2wpkh } from '@leyden/bitcoin'
import { type RunningLedger, startLedger } from '@leyden/ledger-service'
import { chainLink, type Log, silentLog } from '@leyden/lightning-service'
import type { ChainEvent, ChainSource } from '@leyden/link'
import { afterEach, describe, expect, it, vi } from 'vitest'

/** Waits for what must come, however slow the machine. */
const soon = <T>(check: () => T | Promise<T>): Promise<T> => vi.waitFor(check, 15_000)

const SCRIPT = p2wpkh(new Uint8Array(20).fill(1))
const closing: (() => Promise<void> | void)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close()
})

const datadir = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'leyden-link-'))
  closing.push(() => rmSync(path, { recursive: true, force: true }))
  return path
}
const ledgerOn = async (path: string, linkPort = 0): Promise<RunningLedger> => {
  const ledger = await startLedger({ datadir: path, rpcPort: 0, p2pPort: 0, linkPort, logLevel: 'silent' })
  closing.push(() => ledger.stop())
  return ledger
}
/** A log that keeps its warnings. */
const noted = (): Log & { readonly warnings: Record<string, unknown>[] } => {
  const warnings: Record<string, unknown>[] = []
  return { ...silentLog, warnings, warn: (data) => void warnings.push(data as Record<string, unknown>) }
}
const link = (
  options: Partial<Parameters<typeof chainLink>[0]> & { readonly url: string },
): { chain: ChainSource; told: string[]; log: ReturnType<typeof noted> } => {
  const log = noted()
  const chain = chainLink({ cookieFile: undefined, network: networks.regtest, log, ...options })
  closing.push(() => chain.stop())
  return { chain, told: [], log }
}
const listen = ({ chain, told }: ReturnType<typeof link>): void => {
  chain.start(undefined, (event: ChainEvent) => {
    told.push(
      event.type === 'blockConnected'
        ? `block ${event.height}`
        : event.type === 'synced'
          ? `synced ${event.tip.height}`
          : event.type,
    )
  })
}

describe('chainLink', () => {
  it('follows the chain, broadcasts and asks', async () => {
    const ledger = await ledgerOn(datadir())
    const one = link({ url: ledger.linkUrl, cookieFile: ledger.cookieFile })
    listen(one)
    await soon(() => expect(one.told.at(-1)).toBe('synced 0'))
    await ledger.engine.generateToAddress(2, SCRIPT)
    await soon(() => expect(one.told.at(-1)).toBe('synced 2'))
    expect(one.told.filter((line) => line.startsWith('block'))).toEqual(['block 1', 'block 2'])
    expect((await one.chain.fees()).minimumFeeratePerKw).toBeGreaterThan(0)
    const hash = ledger.engine.tip().hash
    const block = await ledger.engine.blockByHash(hash)
    const [coinbase] = block?.transactions ?? []
    expect(coinbase).toBeDefined()
    expect(await one.chain.broadcast(coinbase === undefined ? [] : [coinbase])).toMatchObject({ ok: true })
    expect(await one.chain.findOutput({ height: ledger.engine.tip().height, transactionIndex: 0, vout: 0 })).toMatchObject({
      unspent: true,
      output: { scriptPubKey: SCRIPT },
    })
  })

  it('waits for a ledger that is not there, says so once, and goes on when it comes back, with its new cookie', async () => {
    const path = datadir()
    const first = await ledgerOn(path)
    const { linkPort, linkUrl, cookieFile } = first
    await first.stop()
    const one = link({ url: linkUrl, cookieFile })
    listen(one)
    await soon(() => expect(one.log.warnings.length).toBe(1))
    expect(one.log.warnings[0]?.['reason']).toMatch(/ECONNREFUSED/)
    expect(one.told).toEqual(['away'])
    expect(await one.chain.broadcast([])).toEqual({ ok: false, reason: 'away', permanent: false })
    await expect(one.chain.fees()).rejects.toThrow('the ledger is away')
    const second = await ledgerOn(path, linkPort)
    await soon(() => expect(one.told).toEqual(['away', 'back', 'synced 0']))
    await second.stop()
    await soon(() => expect(one.told.at(-1)).toBe('away'))
    const third = await ledgerOn(path, linkPort)
    await third.engine.generateToAddress(1, SCRIPT)
    await soon(() => expect(one.told.slice(3)).toEqual(['away', 'back', 'block 1', 'synced 1']))
  })

  it('says that the cookie is wrong, and what to do', async () => {
    const path = datadir()
    const ledger = await ledgerOn(path)
    const wrong = join(path, 'other')
    writeFileSync(wrong, '__cookie__:wrong')
    for (const [cookieFile, hint] of [
      [undefined, 'it does not know our cookie: name its .cookie file with --ledger-cookie'],
      [wrong, `it does not know our cookie: is ${wrong} its file?`],
      [join(path, 'missing'), `it does not know our cookie: is ${join(path, 'missing')} its file?`],
    ] as const) {
      const { log } = link({ url: ledger.linkUrl, cookieFile })
      await soon(() => expect(log.warnings[0]?.['reason']).toBe(hint))
    }
  })

  it('does not take the chain of another network, nor keep knocking at full speed', async () => {
    const ledger = await ledgerOn(datadir())
    const one = link({ url: ledger.linkUrl, cookieFile: ledger.cookieFile, network: networks.signet })
    listen(one)
    await soon(() => expect(one.log.warnings.length).toBe(1))
    expect(one.log.warnings[0]?.['reason']).toContain('wrong_network')
    await new Promise((resolve) => {
      setTimeout(resolve, 1500)
    })
    expect(one.log.warnings.length).toBe(1)
    expect(one.told).toEqual(['away'])
  })

  it('says that something else answers', async () => {
    const ledger = await ledgerOn(datadir())
    const { log } = link({ url: ledger.linkUrl.replace(`:${ledger.linkPort}`, `:${ledger.rpcPort}`) })
    await soon(() => expect(log.warnings.length).toBe(1))
    expect(typeof log.warnings[0]?.['reason']).toBe('string')
  })

  it('ends when it is told to, whatever it is doing', async () => {
    const ledger = await ledgerOn(datadir())
    const one = link({ url: ledger.linkUrl, cookieFile: ledger.cookieFile })
    listen(one)
    await one.chain.stop()
    const away = link({ url: 'ws://127.0.0.1:1' })
    await away.chain.stop()
    await ledger.engine.generateToAddress(1, SCRIPT)
    expect(one.told).not.toContain('block 1')
  })
})
