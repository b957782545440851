import { describe, expect, it } from 'vitest'
import { createRecent, createRecentFilter } from './recent.ts'
import { seeded, someTxid } from './testing.ts'

describe.each([
  ['exact', createRecent],
  ['in constant memory', (max: number) => createRecentFilter(max, seeded(1))],
])('a set that forgets, %s', (_, create) => {
  it('knows the last that it took, and never holds more than twice as many', () => {
    const recent = create(1000)
    for (let i = 0; i < 5000; i++) {
      recent.add(someTxid(i))
      expect(recent.size).toBeLessThanOrEqual(2000)
    }
    for (let i = 4001; i < 5000; i++) expect(recent.has(someTxid(i))).toBe(true)
    expect(recent.has(someTxid(0))).toBe(false)
    recent.clear()
    expect([recent.size, recent.has(someTxid(4999))]).toEqual([0, false])
  })

  it('takes next to no stranger for a member', () => {
    const recent = create(5000)
    for (let i = 0; i < 9999; i++) recent.add(someTxid(i))
    let mistaken = 0
    for (let i = 0; i < 50_000; i++) if (recent.has(someTxid(1_000_000 + i))) mistaken++
    expect(mistaken).toBeLessThan(5)
  })
})
