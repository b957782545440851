import { expect, it } from 'vitest'
import { createUploadTarget } from './upload.ts'

it('an upload target keeps the end of the day for new blocks, and begins anew after it', () => {
  let now = 1_750_000_000_000
  const target = createUploadTarget(800_000_000, () => now)
  target.sent(1)
  expect([target.reached(true), target.reached(false)]).toEqual([false, false])
  target.sent(300_000_000)
  expect([target.reached(true), target.reached(false)]).toEqual([true, false])
  expect(target.state()).toMatchObject({ bytesLeft: 499_999_999, secondsLeft: 86_400, servesHistorical: false })
  now += 23 * 3_600_000
  expect(target.reached(true)).toBe(false)
  target.sent(500_000_000)
  expect(target.reached(false)).toBe(true)
  now += 2 * 3_600_000
  target.sent(1)
  expect([target.reached(true), target.reached(false)]).toEqual([false, false])
  expect(createUploadTarget(0, () => now).reached(true)).toBe(false)
})
