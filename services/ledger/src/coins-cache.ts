/**
 * Unspent outputs in memory over those in the store, as bitcoind's -dbcache: a coin that is made and spent here never touches the disk.
 * Three layers: `current` is what has changed since the last flush, `frozen` is being written, `clean` repeats what the store has.
 * What is asked for is looked up in that order, then in the store; so a flush holds nobody up. Memory is bounded by the owner, who
 * flushes when `dirtyBytes` pass a limit; the clean layer bounds itself, oldest out.
 */
import { outpointKey, type Coin, type Outpoint } from '@leyden/bitcoin'
import type { CoinChanges } from '@leyden/ledger'
import type { Store, Write } from '@leyden/runtime'
import { coinWrite, readCoins } from './chain-rows.ts'

/** A coin that came or went. `fresh`: no layer below has it, so when it goes nothing need be written. */
type Change = { readonly outpoint: Outpoint; readonly coin: Coin | undefined; readonly fresh: boolean }
type Layer = Map<string, Change>

export interface CoinsCache {
  /** Estimated memory of what is not in the store. */
  readonly dirtyBytes: number
  /** Estimated memory of all. */
  readonly bytes: number
  /** Coins held in memory. */
  readonly size: number
  /** By outpointKey; what does not exist is left out. */
  read(outpoints: readonly Outpoint[]): Promise<Map<string, Coin>>
  /** The changes of a block that is put on. `overwrites`: what it makes may exist already (before BIP 34). */
  connect(changes: CoinChanges, overwrites: boolean): void
  /** The changes of taking a block off. */
  disconnect(changes: CoinChanges): void
  /**
   * Everything since the last one, to be written at once; encoded as it is walked. Then either `landed` or `failed` is called, before
   * the next.
   */
  freeze(): Iterable<Write>
  landed(): void
  failed(): void
}

/** For key, map entry, coin and output in V8 with what holds a small array: measured with 200,000 of them. */
const ENTRY_BYTES = 620

const costOf = (coin: Coin | undefined): number => ENTRY_BYTES + (coin?.output.scriptPubKey.length ?? 0)

/** The coin with bytes of its own: those of a block would keep the whole block in memory. */
const detached = (coin: Coin): Coin => {
  const { scriptPubKey, value } = coin.output
  if (scriptPubKey.buffer.byteLength === scriptPubKey.length) return coin
  return { ...coin, output: { value, scriptPubKey: Uint8Array.from(scriptPubKey) } }
}

function* encoded(layer: Layer): Iterable<Write> {
  for (const { outpoint, coin } of layer.values()) yield coinWrite(outpoint, coin)
}

export const createCoinsCache = (store: Store, maxCleanBytes: number): CoinsCache => {
  let current: Layer = new Map()
  let frozen: Layer = new Map()
  const clean = new Map<string, Coin>()
  let currentBytes = 0
  let frozenBytes = 0
  let cleanBytes = 0
  /** Flushes that have landed: what was read from the store before one may be out of date after it. */
  let landings = 0

  const forget = (key: string): void => {
    const coin = clean.get(key)
    if (coin === undefined) return
    clean.delete(key)
    cleanBytes -= costOf(coin)
  }
  const keep = (key: string, coin: Coin): void => {
    if (maxCleanBytes === 0) return
    forget(key)
    clean.set(key, coin)
    cleanBytes += costOf(coin)
    for (const oldest of clean.keys()) {
      if (cleanBytes <= maxCleanBytes) return
      forget(oldest)
    }
  }
  const set = (key: string, change: Change | undefined): void => {
    const before = current.get(key)
    if (before !== undefined) currentBytes -= costOf(before.coin)
    if (change === undefined) {
      current.delete(key)
      return
    }
    current.set(key, change)
    currentBytes += costOf(change.coin)
  }
  const spend = (outpoint: Outpoint): void => {
    const key = outpointKey(outpoint)
    const before = current.get(key)
    forget(key)
    set(key, before?.fresh === true ? undefined : { outpoint, coin: undefined, fresh: false })
  }
  const create = (outpoint: Outpoint, coin: Coin, isNew: boolean): void => {
    const key = outpointKey(outpoint)
    const before = current.get(key)
    forget(key)
    set(key, { outpoint, coin: detached(coin), fresh: before === undefined ? isNew : before.fresh })
  }

  return {
    get dirtyBytes() {
      return currentBytes
    },
    get bytes() {
      return currentBytes + frozenBytes + cleanBytes
    },
    get size() {
      return current.size + frozen.size + clean.size
    },
    async read(outpoints) {
      const found = new Map<string, Coin>()
      const missing: Outpoint[] = []
      for (const outpoint of outpoints) {
        const key = outpointKey(outpoint)
        const change = current.get(key) ?? frozen.get(key)
        const coin = change === undefined ? clean.get(key) : change.coin
        if (coin !== undefined) found.set(key, coin)
        else if (change === undefined) missing.push(outpoint)
      }
      if (missing.length === 0) return found
      const before = landings
      const coins = await readCoins(store, missing)
      missing.forEach((outpoint, i) => {
        const coin = coins[i]
        if (coin === undefined) return
        const key = outpointKey(outpoint)
        found.set(key, coin)
        if (landings === before && !current.has(key) && !frozen.has(key)) keep(key, coin)
      })
      return found
    },
    connect({ created, spent }, overwrites) {
      for (const outpoint of spent) spend(outpoint)
      for (const [outpoint, coin] of created) create(outpoint, coin, !overwrites)
    },
    disconnect({ created, spent }) {
      for (const outpoint of spent) spend(outpoint)
      for (const [outpoint, coin] of created) create(outpoint, coin, false)
    },
    freeze() {
      frozen = current
      frozenBytes = currentBytes
      current = new Map()
      currentBytes = 0
      return encoded(frozen)
    },
    landed() {
      landings++
      for (const [key, { coin }] of frozen) if (coin !== undefined && !current.has(key)) keep(key, coin)
      frozen = new Map()
      frozenBytes = 0
    },
    failed() {
      const newer = current
      current = frozen
      currentBytes = frozenBytes
      frozen = new Map()
      frozenBytes = 0
      for (const [key, change] of newer) {
        const older = current.get(key)
        const fresh = older === undefined ? change.fresh : older.fresh
        set(key, change.coin === undefined && fresh ? undefined : { ...change, fresh })
      }
    },
  }
}
