/** What a new tip means block by block, for those who tell others of blocks: commands, ZeroMQ. */
import { forkPoint, type HeaderEntry } from '@leyden/ledger'
import type { LedgerEngine } from './engine.ts'

export type TipNews = {
  /** From the old tip down. */
  readonly disconnected: readonly HeaderEntry[]
  /** From the fork up to the new tip. */
  readonly connected: readonly HeaderEntry[]
}

const above = (fork: HeaderEntry, tip: HeaderEntry): HeaderEntry[] => {
  const blocks: HeaderEntry[] = []
  for (let at: HeaderEntry | undefined = tip; at !== undefined && at !== fork; at = at.parent) blocks.push(at)
  return blocks
}

/** Calls `onNews` for each change of the tip that is shown. Returns the end of the subscription. */
export const followTip = (engine: LedgerEngine, onNews: (news: TipNews) => void): (() => void) => {
  let before = engine.tipEntry()
  return engine.subscribe(({ type }) => {
    if (type !== 'tipChanged') return
    const tip = engine.tipEntry()
    const fork = forkPoint(before, tip)
    const news = { disconnected: above(fork, before), connected: above(fork, tip).toReversed() }
    before = tip
    onNews(news)
  })
}

/** Blocks that are announced one by one: each new one, but of a reorganisation the last one only. */
export const announced = ({ disconnected, connected }: TipNews): readonly HeaderEntry[] =>
  disconnected.length === 0 ? connected : connected.slice(-1)
