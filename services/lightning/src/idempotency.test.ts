/** Idempotency-Key over a store in memory: one run, one answer, and a crash between what was made and its answer. */
import { Problem } from '@leyden/api'
import { createDrive, memoryStore, type Store } from '@leyden/runtime'
import { describe, expect, it, vi } from 'vitest'
import { createIdempotency, findMade, noteMade } from './idempotency.ts'
import type { NodeEffect } from './node-effect.ts'
import { systemClock } from './system.ts'

const open = async (store: Store) => {
  const drive = createDrive<NodeEffect>({
    store,
    kinds: [],
    clock: systemClock,
    release: () => undefined,
    onFault: (fault) => {
      throw fault
    },
  })
  await drive.load()
  return { drive, idempotent: createIdempotency({ store, drive, clock: systemClock }) }
}
const answer = { status: 201, body: { id: 'x' } }

describe('an Idempotency-Key', () => {
  it('runs once, and gives the stored answer afterwards, after a restart as well', async () => {
    const store = memoryStore()
    const { idempotent } = await open(store)
    const run = vi.fn<() => Promise<typeof answer>>(async () => answer)
    expect(await idempotent('k', 'f', run)).toEqual({ ...answer, replayed: false })
    expect(await idempotent('k', 'f', run)).toEqual({ ...answer, replayed: true })
    const restarted = await open(store)
    expect(await restarted.idempotent('k', 'f', run)).toEqual({ ...answer, replayed: true })
    expect(run).toHaveBeenCalledTimes(1)
  })

  it('of another request is refused, whether the first has ended or runs', async () => {
    const { idempotent } = await open(memoryStore())
    let finish = (): void => {}
    const first = idempotent('k', 'f', () => new Promise((resolve) => (finish = () => resolve(answer))))
    await expect(idempotent('k', 'other', async () => answer)).rejects.toMatchObject({ code: 'idempotency_mismatch' })
    await expect(idempotent('k', 'f', async () => answer)).rejects.toMatchObject({ code: 'in_flight' })
    await vi.waitFor(() => {
      finish()
      return first
    })
    await expect(idempotent('k', 'other', async () => answer)).rejects.toMatchObject({ code: 'idempotency_mismatch' })
  })

  it('is free again after a refusal', async () => {
    const { idempotent } = await open(memoryStore())
    const refuse = async (): Promise<never> => {
      throw new Problem('no_route', 'none')
    }
    await expect(idempotent('k', 'f', refuse)).rejects.toMatchObject({ code: 'no_route' })
    expect(await idempotent('k', 'other', async () => answer)).toEqual({ ...answer, replayed: false })
  })

  it('that was cut off by a crash runs again, and finds what the first run made', async () => {
    const store = memoryStore()
    const before = await open(store)
    // The process ends after the commit that makes the payment, before the answer is stored.
    void before.idempotent('k', 'f', async () => {
      await before.drive.submit((batch) => noteMade(batch, 'k', { paymentHash: 'aa' }))
      return await new Promise<never>(() => {})
    })
    await vi.waitFor(async () => expect(await findMade(store, 'k')).toEqual({ paymentHash: 'aa' }))
    const after = await open(store)
    const result = await after.idempotent('k', 'f', async () => ({ status: 200, body: await findMade(store, 'k') }))
    expect(result).toEqual({ status: 200, body: { paymentHash: 'aa' }, replayed: false })
    expect(await findMade(store, 'another')).toEqual({})
    expect(await findMade(store, undefined)).toEqual({})
  })
})
