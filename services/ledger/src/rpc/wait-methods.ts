/** Calls that wait for the chain: Bitcoin Core rpc/blockchain.cpp. They answer with the tip, also when the time is over. */
import type { HeaderEntry } from '@leyden/ledger'
import { RPC, RpcError, type Arguments } from './call.ts'
import type { Json } from './json-text.ts'
import type { MethodContext, Methods } from './method.ts'

/** Timers hold no more. */
const MAX_TIMEOUT_MS = 0x7fff_ffff

const timeoutOf = (args: Arguments, at: number): number => {
  const timeout = args.int(at, 0)
  if (timeout < 0) throw new RpcError(RPC.misc, 'Negative timeout')
  return timeout
}

/** Milliseconds; 0 waits without end. */
const waitFor = async (
  { engine, stopping }: MethodContext,
  timeoutMs: number,
  done: (tip: HeaderEntry) => boolean,
): Promise<Json> => {
  if (!done(engine.tipEntry()) && !stopping.aborted)
    await new Promise<void>((resolve) => {
      const end = (): void => {
        clearTimeout(timer)
        stopping.removeEventListener('abort', end)
        unsubscribe()
        resolve()
      }
      const timer = setTimeout(end, timeoutMs === 0 ? MAX_TIMEOUT_MS : timeoutMs)
      timer.unref()
      stopping.addEventListener('abort', end)
      const unsubscribe = engine.subscribe(({ type }) => {
        if (type === 'tipChanged' && done(engine.tipEntry())) end()
      })
    })
  const { hash, height } = engine.tip()
  return { hash, height }
}

export const waitMethods: Methods = {
  waitfornewblock: {
    params: ['timeout'],
    about: 'Waits until the tip changes.',
    run(context, args) {
      const timeout = timeoutOf(args, 0)
      const before = context.engine.tipEntry()
      return waitFor(context, timeout, (tip) => tip !== before)
    },
  },
  waitforblock: {
    params: ['blockhash', 'timeout'],
    about: 'Waits until a block is the tip.',
    run(context, args) {
      const hash = args.blockHash(0)
      return waitFor(context, timeoutOf(args, 1), (tip) => tip.hash === hash)
    },
  },
  waitforblockheight: {
    params: ['height', 'timeout'],
    about: 'Waits until the chain has at least this height.',
    run(context, args) {
      const height = args.int(0)
      return waitFor(context, timeoutOf(args, 1), (tip) => tip.height >= height)
    },
  },
  syncwithvalidationinterfacequeue: {
    params: [],
    about: 'Waits until all that was asked of the chain before has ended.',
    async run({ engine }) {
      await engine.idle()
      return null
    },
  },
}
