/** Fee rates by estimate: Bitcoin Core 28.1 rpc/fees.cpp. */
import {
  FEE_HORIZONS,
  MAX_FEE_TARGET,
  minFeeratePerKvb,
  rawFeerate,
  smartFeerate,
  type FeeRange,
  type HorizonName,
} from '@leyden/ledger'
import { RPC, RpcError, type Arguments } from './call.ts'
import { btc, type Json } from './json-text.ts'
import type { Methods } from './method.ts'

const confirmTarget = (args: Arguments): number => {
  const target = args.int(0)
  if (target < 1 || target > MAX_FEE_TARGET)
    throw new RpcError(RPC.invalidParameter, `Invalid conf_target, must be between 1 and ${MAX_FEE_TARGET}`)
  return target
}

const MODES = ['unset', 'economical', 'conservative']

const rounded = (n: number): number => Math.round(n * 100) / 100

const rangeJson = ({ start, end, withinTarget, totalConfirmed, inMempool, leftMempool }: FeeRange): Json => ({
  startrange: Math.round(start),
  endrange: Math.round(end),
  withintarget: rounded(withinTarget),
  totalconfirmed: rounded(totalConfirmed),
  inmempool: rounded(inMempool),
  leftmempool: rounded(leftMempool),
})

export const feeMethods: Methods = {
  estimatesmartfee: {
    params: ['conf_target', 'estimate_mode'],
    about: 'Fee rate, in bitcoin per 1000 virtual bytes, to be confirmed within so many blocks.',
    run({ engine, now }, args) {
      const asked = confirmTarget(args)
      const mode = args.string(1, 'economical').toLowerCase()
      if (!MODES.includes(mode))
        throw new RpcError(
          RPC.invalidParameter,
          'Invalid estimate_mode parameter, must be one of: "unset", "economical", "conservative"',
        )
      const { feerate, target } = smartFeerate(engine.estimator, asked, mode === 'conservative')
      if (feerate === 0) return { errors: ['Insufficient data or no feerate found'], blocks: target }
      const least = minFeeratePerKvb(engine.pool, Math.floor(now() / 1000))
      return { feerate: btc(BigInt(Math.max(feerate, least))), blocks: target }
    },
  },
  estimaterawfee: {
    params: ['conf_target', 'threshold'],
    about: 'What each horizon of the fee estimates says by itself, and the data behind it.',
    run({ engine }, args) {
      const target = confirmTarget(args)
      const threshold = args.number(1, 0.95)
      if (threshold < 0 || threshold > 1) throw new RpcError(RPC.invalidParameter, 'Invalid threshold')
      const answers: Record<string, Json> = {}
      for (const name of Object.keys(FEE_HORIZONS) as HorizonName[]) {
        const answer = rawFeerate(engine.estimator, target, threshold, name)
        if (answer === undefined) continue
        const { decay, scale } = FEE_HORIZONS[name]
        const { pass, fail } = answer
        const feerate = Math.round(answer.feerate)
        answers[name] =
          answer.feerate > 0
            ? {
                feerate: btc(BigInt(feerate)),
                decay,
                scale,
                pass: rangeJson(pass),
                ...(fail.start === -1 ? {} : { fail: rangeJson(fail) }),
              }
            : {
                decay,
                scale,
                fail: rangeJson(fail),
                errors: ['Insufficient data or no feerate found which meets threshold'],
              }
      }
      return answers
    },
  },
}
