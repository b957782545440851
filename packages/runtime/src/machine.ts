/**
 * The shape of a protocol core: a pure, synchronous, deterministic state machine. Nothing here knows what it does.
 * `step` decides, `resume` only re-arms: after a restart it gives the effects that no row keeps (watch, rebroadcast, timers).
 * No clock, randomness, logging or await inside a machine: what it needs comes in `env` and `input`.
 */

/** What a step gives: the whole next state, and the effects that may leave once it is durable, in order. */
export interface Step<State, Effect> {
  readonly state: State
  readonly effects: readonly Effect[]
}

/** A protocol core. Both functions are total: bad input from a peer is an effect, never an exception. */
export interface Machine<State, Input, Effect, Env> {
  step(state: State, input: Input, env: Env): Step<State, Effect>
  resume(state: State): readonly Effect[]
}
