/** For the tests of this service: outputs that anyone may spend with a real script, and a clock that only moves when told. */
import { buildScript, OP, p2wshOf, Sat, txid, type Outpoint, type Tx } from '@leyden/bitcoin'
import type { Clock } from '@leyden/runtime'

/** Script that any witness of it alone satisfies. */
export const TRUE_SCRIPT: Uint8Array = buildScript(OP.OP_TRUE)
/** Output script of which TRUE_SCRIPT is the witness script. */
export const ANYONE: Uint8Array = p2wshOf(TRUE_SCRIPT)

export type Spend = Outpoint & { readonly sequence?: number; readonly witness?: readonly Uint8Array[] }

/** A transaction from outputs that anyone may spend to such outputs of these amounts. */
export const pay = (
  from: readonly Spend[],
  amounts: readonly (bigint | number)[],
  fields: { version?: number; lockTime?: number; scriptPubKey?: Uint8Array } = {},
): Tx => ({
  version: fields.version ?? 2,
  inputs: from.map(({ txid, vout, sequence, witness }) => ({
    outpoint: { txid, vout },
    scriptSig: new Uint8Array(0),
    sequence: sequence ?? 0xffff_fffd,
    witness: witness ?? [TRUE_SCRIPT],
  })),
  outputs: amounts.map((value) => ({ value: Sat(BigInt(value)), scriptPubKey: fields.scriptPubKey ?? ANYONE })),
  lockTime: fields.lockTime ?? 0,
})

export const outputOf = (tx: Tx, vout = 0): Outpoint => ({ txid: txid(tx), vout })

/** Milliseconds since 1970; stands still unless advanced. Its timers never fire. */
export const virtualClock = (startMs = 1_750_000_000_000): Clock & { advance(ms: number): void } => {
  let time = startMs
  return {
    now: () => time,
    setTimer: () => () => undefined,
    advance(ms) {
      time += ms
    },
  }
}
