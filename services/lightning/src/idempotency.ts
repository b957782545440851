/**
 * Idempotency-Key, in the store: answers by key, and what a request made by its reference (the same key).
 * An answer is stored after the request has run; a crash in between leaves a key without one. The reference is written in the commit
 * that makes the payment, invoice or channel, so that the request, when it is made again, finds it and makes nothing new.
 * (A transaction carries its reference in the wallet's record.)
 */
import { Problem, type WalletService } from '@leyden/api'
import { bytesToHex, packRecord, unpackRecord, utf8Encode } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import { type Batch, type Clock, type Drive, key, type Store } from '@leyden/runtime'
import type { NodeEffect } from './node-effect.ts'

/** How long an answer is kept for its key. What a reference made is found as long as it is there. */
const KEPT_MS = 24 * 3_600_000

const rowOf = (table: string, name: string): Uint8Array => key(table, bytesToHex(sha256(utf8Encode(name))))

/** What a request made: a payment or invoice by its hash, a channel by the index of its keys (its id changes while it opens). */
export type Made = { readonly paymentHash: string } | { readonly keyIndex: number }

/** Writes, in the commit that makes it, what the request of this reference made. */
export const noteMade = (batch: Batch<NodeEffect>, reference: string | undefined, made: Made): void => {
  if (reference !== undefined) batch.put(rowOf('reference', reference), packRecord(made))
}

/** What a request of this reference has made before. */
export const findMade = async (
  store: Store,
  reference: string | undefined,
): Promise<Partial<{ paymentHash: string; keyIndex: number }>> => {
  const row = reference === undefined ? undefined : await store.get(rowOf('reference', reference))
  return row === undefined ? {} : (unpackRecord(row) as Made)
}

interface StoredAnswer {
  readonly fingerprint: string
  readonly createdAtMs: number
  readonly status?: number
  readonly body?: string
}

export interface IdempotencyPorts {
  readonly store: Store
  readonly drive: Drive<NodeEffect>
  readonly clock: Clock
}

export const createIdempotency = ({ store, drive, clock }: IdempotencyPorts): WalletService['idempotent'] => {
  /** Key -> fingerprint of the request that runs. */
  const running = new Map<string, string>()
  const write = (name: string, answer: StoredAnswer | undefined): Promise<void> =>
    drive.submit((batch) => batch.put(rowOf('idempotency', name), answer === undefined ? undefined : packRecord(answer)))
  const mismatch = (): Problem =>
    new Problem('idempotency_mismatch', 'this Idempotency-Key was used for another request: take a new one')
  return async (name, fingerprint, run) => {
    const other = running.get(name)
    if (other !== undefined && other !== fingerprint) throw mismatch()
    if (other !== undefined)
      throw new Problem('in_flight', 'the first request with this Idempotency-Key is still running: try again')
    running.set(name, fingerprint)
    try {
      const row = await store.get(rowOf('idempotency', name))
      const stored = row === undefined ? undefined : (unpackRecord(row) as StoredAnswer)
      if (stored !== undefined && clock.now() - stored.createdAtMs < KEPT_MS) {
        if (stored.fingerprint !== fingerprint) throw mismatch()
        if (stored.status !== undefined && stored.body !== undefined)
          return { status: stored.status, body: JSON.parse(stored.body) as unknown, replayed: true }
      }
      const createdAtMs = clock.now()
      await write(name, { fingerprint, createdAtMs })
      let answer: Awaited<ReturnType<typeof run>>
      try {
        answer = await run()
      } catch (error) {
        // A refusal changed nothing: the same key may try again.
        if (error instanceof Problem) await write(name, undefined)
        throw error
      }
      await write(name, { fingerprint, createdAtMs, status: answer.status, body: JSON.stringify(answer.body) })
      return { ...answer, replayed: false }
    } finally {
      running.delete(name)
    }
  }
}
