import { describe, expect, it } from 'vitest'
import { authorizedUser, parseHashedUser, whitelistOf } from './credentials.ts'

const basic = (text: string): string => `Basic ${Buffer.from(text).toString('base64')}`
/** From Bitcoin Core's rpc_users.py: the password of rt, hashed. */
const RT = 'rt:93648e835a54c573682c2eb19f882535$7681e9c5b74bdd85e78166031d2058e1069b3ed7ed967c93fc63abba06f31144'
const RT_PASSWORD = 'cA773lm788buwYe4g4WT+05pKyNruVKjQ25x3n0DQcM='

describe('credentials', () => {
  const credentials = { pairs: ['alice:a:b'], hashed: [parseHashedUser(RT)!] }
  it('are pairs and hashed passwords', () => {
    expect(authorizedUser(basic('alice:a:b'), credentials)).toBe('alice')
    expect(authorizedUser(basic(`rt:${RT_PASSWORD}`), credentials)).toBe('rt')
    for (const wrong of ['alice:a', 'alice', `rt:${RT_PASSWORD}x`, `rtx:${RT_PASSWORD}`, 'rt:', ''])
      expect(authorizedUser(basic(wrong), credentials)).toBeUndefined()
    for (const header of [undefined, '', 'Bearer x', 'Basic ???']) expect(authorizedUser(header, credentials)).toBeUndefined()
  })

  it('of a hashed user are refused in another form', () => {
    for (const text of ['rt', 'rt:abc', 'rt:a$b$c', 'a:b:c$d']) expect(parseHashedUser(text)).toBeUndefined()
  })
})

describe('whitelists', () => {
  it('leave each user what all of its lists name, and others nothing unless told', () => {
    const of = whitelistOf(['a:x,y', 'a:y, z', 'b:', 'c'])
    expect([of('a'), of('b'), of('c'), of('d')]).toEqual([new Set(['y']), new Set(['']), new Set(), new Set()])
    expect(whitelistOf(['a:x'], false)('d')).toBeUndefined()
    expect(whitelistOf([])('a')).toBeUndefined()
    expect(whitelistOf([], true)('a')).toEqual(new Set())
  })
})
