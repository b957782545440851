/** What is chosen where a platform lacks the addon, and where, as in a browser, it lacks both fast libraries. */
import { afterEach, describe, expect, it, vi } from 'vitest'

const absent = (): never => {
  throw new Error('not on this platform')
}

afterEach(() => {
  vi.doUnmock('secp256k1/bindings.js')
  vi.doUnmock('tiny-secp256k1')
  vi.resetModules()
})

describe('the choice of a backend', () => {
  it('says that an absent one cannot be had', async () => {
    vi.doMock('secp256k1/bindings.js', absent)
    const crypto = await import('./index.ts')
    await expect(crypto.useBackend('native')).rejects.toThrow('unknown_backend')
    expect(crypto.backendName).toBe('wasm')
  })

  it.each([
    [[], 'native'],
    [['secp256k1/bindings.js'], 'wasm'],
    [['secp256k1/bindings.js', 'tiny-secp256k1'], 'noble'],
  ])('without %j it is %s, which passes the self-test', async (missing, expected) => {
    for (const name of missing) vi.doMock(name, absent)
    const crypto = await import('./index.ts')
    expect(crypto.backendName).toBe(expected)
    expect(() => crypto.selfTest()).not.toThrow()
  })
})
