/**
 * How the state of a machine becomes rows. An instance of a kind lives under key(kind.name, id, suffix).
 * `diff` writes what changed and no more: a channel with 483 HTLCs must not write all of them for one.
 */
import { packRecord, unpackRecord } from '@leyden/codec'

/** A row of one instance; `value` undefined deletes it. */
export type KindWrite = { readonly suffix: string; readonly value: Uint8Array | undefined }
export type KindRow = readonly [suffix: string, value: Uint8Array]

export interface Kind<State> {
  /** Unique among the kinds of a drive, and never changed: it is the first part of every key. */
  readonly name: string
  /** The state that these rows (ascending by suffix, at least one) hold. Throws on damaged or unknown rows: a fault. */
  load(id: string, rows: readonly KindRow[]): State
  /** The rows that make `before` into `after`. Undefined: no such instance (not yet, or no more). */
  diff(before: State | undefined, after: State | undefined): readonly KindWrite[]
  /**
   * States that nothing is to be done about any more: they leave memory, and a job that needs one asks for it (drive.ts). A pure
   * function. None by default.
   */
  rests?(state: State): boolean
}

/** Turns the state of an older version into that of the present one. Throws on a version that it does not know. */
export type Migrate<State> = (version: number, old: unknown) => State

export interface RecordOptions<State> {
  readonly migrate?: Migrate<State>
  readonly rests?: (state: State) => boolean
  /** How states that rest are kept in fewer bytes: plain data, from which `unpack` makes the same state. Undefined: as any other. */
  readonly resting?: { readonly pack: (state: State) => unknown; readonly unpack: (packed: unknown, id: string) => State }
}

/** A kind whose whole state is one packed record. Versions are integers from 1; a newer one than `version` is refused. */
export const recordKind = <State>(name: string, version: number, options: RecordOptions<State> = {}): Kind<State> => {
  const { migrate, rests, resting } = options
  const packState = (state: State): Uint8Array => {
    const packed = rests?.(state) === true ? resting?.pack(state) : undefined
    return packRecord(packed === undefined ? { version, state } : { version, packed })
  }
  return {
    name,
    ...(rests === undefined ? {} : { rests }),
    load(id, rows) {
      const row = rows.find(([suffix]) => suffix === '')
      if (row === undefined || rows.length !== 1) throw new Error(`${name} ${id}: ${rows.length} rows where one belongs`)
      const stored = unpackRecord(row[1])
      if (typeof stored !== 'object' || stored === null || !('version' in stored) || !('state' in stored || 'packed' in stored))
        throw new Error(`${name} ${id}: not a versioned record`)
      if (typeof stored.version !== 'number' || stored.version > version)
        throw new Error(
          `${name} ${id}: version ${String(stored.version)} was written by a newer program (this one knows ${version})`,
        )
      let state: unknown
      if ('state' in stored) state = stored.state
      else if (resting === undefined) throw new Error(`${name} ${id}: a packed state, and nothing to unpack it`)
      else state = resting.unpack(stored.packed, id)
      if (stored.version === version) return state as State
      if (migrate === undefined) throw new Error(`${name} ${id}: no migration from version ${stored.version} to ${version}`)
      return migrate(stored.version, state)
    },
    diff(before, after) {
      if (before === after) return []
      return [{ suffix: '', value: after === undefined ? undefined : packState(after) }]
    },
  }
}
