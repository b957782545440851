/**
 * From the start to the first answer: what the ledger is doing, for whoever asks meanwhile, and the end of a start that is to go no
 * further. Bitcoin Core 28.1 init.cpp, rpc/server.cpp (SetRPCWarmupStatus, RPC_IN_WARMUP).
 * One difference: bitcoind answers calls while it reindexes; here the chain opens when all of its blocks are connected.
 */

/** The ledger is to end: what was under way is left off, nothing is lost. Not a failure. */
export class Stopping extends Error {
  constructor() {
    super('the ledger is stopping')
    this.name = 'Stopping'
  }
}

export type Progress = { readonly done: number; readonly of: number; readonly unit: 'blocks' | 'bytes' | 'transactions' }

export type Stage = {
  /** In the words that bitcoind has for it, if any. */
  readonly doing: string
  /** How far it is, asked for when somebody wants to know; undefined where that is not known yet. */
  readonly progress?: () => Progress | undefined
  /** It may take long: `stop` is obeyed. In short ones it is answered as every other call, as by bitcoind. */
  readonly isLong?: boolean
}

/** What those who do the work of a start have to do with it. */
export type Startup = {
  /** Something else begins. */
  readonly begin: (stage: Stage) => void
  /** Throws {@link Stopping} once the ledger is to end: to be called wherever work may be left off. */
  readonly check: () => void
}

/** Small things between which others have a turn. */
const AT_ONCE = 100

/** To be called between many small things: now and then others have a turn, and the start may end (Stopping is thrown). */
export const turns = ({ startup, breathe }: { startup: Startup; breathe: () => Promise<void> }): (() => Promise<void>) => {
  let count = 0
  return async () => {
    if (++count % AT_ONCE !== 0) return
    startup.check()
    await breathe()
  }
}

export type Warmup = Startup & {
  /** One sentence. */
  readonly status: () => string
  readonly obeysStop: () => boolean
}

/** Nobody asks, and nobody ends it. */
export const NO_STARTUP: Startup = { begin: () => undefined, check: () => undefined }

const percentOf = (done: number, of: number): string => (Math.floor((done * 1000) / of) / 10).toFixed(1)

const textOf = ({ doing, progress }: Stage): string => {
  const at = progress?.()
  if (at === undefined || at.of === 0) return `${doing}…`
  return `${doing}… ${at.done} of ${at.of} ${at.unit} (${percentOf(at.done, at.of)}%)`
}

/** `stopping` is aborted when the ledger is to end. */
export const createWarmup = (stopping: AbortSignal): Warmup => {
  let stage: Stage | undefined
  return {
    begin(next) {
      stage = next
    },
    check() {
      if (stopping.aborted) throw new Stopping()
    },
    status: () => (stage === undefined ? 'RPC server started' : textOf(stage)),
    obeysStop: () => stage?.isLong === true,
  }
}
