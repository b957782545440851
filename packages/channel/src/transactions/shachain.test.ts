import { bytesToHex, hexToBytes } from '@leyden/codec'
import { describe, expect, test } from 'vitest'
import { isViolation } from '../violations.ts'
import { EMPTY_REVOCATIONS, findSecret, FIRST_INDEX, generateFromSeed, insertSecret, secretOfNumber } from './shachain.ts'

const ALL_ONES = new Uint8Array(32).fill(0xff)

describe('BOLT 3 Appendix D: generation', () => {
  test.each([
    ['00', FIRST_INDEX, '02a40c85b6f28da08dfdbe0926c53fab2de6d28c10301f8f7c4073d5e42e3148'],
    ['ff', FIRST_INDEX, '7cc854b54e3e0dcdb010d7a3fee464a9687be6e8db3be6854c475621e007a5dc'],
    ['ff', 0xaaaaaaaaaaa, '56f4008fb007ca9acf0e15b054d5c9fd12ee06cea347914ddbaed70d1c13a528'],
    ['ff', 0x555555555555, '9015daaeb06dba4ccc05b91b2f73bd54405f2be9f217fbacd3c5ac2e62327d31'],
    ['01', 1, '915c75942a26bb3a433a8ce2cb0427c29ec6c1775cfc78328b57f6ba7bfeaa9c'],
  ])('seed %s, index %d', (byte, index, secret) => {
    expect(bytesToHex(generateFromSeed(hexToBytes(byte.repeat(32)), index))).toBe(secret)
  })
})

describe('BOLT 3 Appendix D: storage', () => {
  const right = [
    '7cc854b54e3e0dcdb010d7a3fee464a9687be6e8db3be6854c475621e007a5dc',
    'c7518c8ae4660ed02894df8976fa1a3659c1a8b4b5bec0c4b872abeba4cb8964',
    '2273e227a5b7449b6e70f1fb4652864038b1cbf9cd7c043a7d6456b7fc275ad8',
    '27cddaa5624534cb6cb9d7da077cf2b22ab21e9b506fd4998a51d54502e99116',
    'c65716add7aa98ba7acb236352d665cab17345fe45b55fb879ff80e6bd0c41dd',
    '969660042a28f32d9be17344e09374b379962d03db1574df5a8a5a47e19ce3f2',
    'a5a64476122ca0925fb344bdc1854c1c0a59fc614298e50a33e331980a220f32',
    '05cde6323d949933f7f7b78776bcc1ea6d9b31447732e3802e1f7ac44b650e17',
  ]
  const wrong = [
    '02a40c85b6f28da08dfdbe0926c53fab2de6d28c10301f8f7c4073d5e42e3148',
    'dddc3a8d14fddf2b68fa8c7fbad2748274937479dd0f8930d5ebb4ab6bd866a3',
    'c51a18b13e8527e579ec56365482c62f180b7d5760b46e9477dae59e87ed423a',
    'ba65d7b0ef55a3ba300d4e87af29868f394f8f138d78a7011669c79b37b936f4',
    '631373ad5f9ef654bb3dade742d09504c567edd24320d2fcd68e3cc47e2ff6a6',
    'b7e76a83668bde38b373970155c868a653304308f9896692f904a23731224bb1',
    'e7971de736e01da8ed58b94c2fc216cb1dca9e326f3a96e7194fe8ea8af6c0a3',
    'a7efbc61aac46d34f77778bac22c8a20c6a46ca460addc49009bda875ec88fa4',
  ]
  /** Which of the eight secrets are wrong (from 1), and the insert that finds it; none for a correct sequence. */
  test.each([
    { name: 'correct sequence', bad: [], found: undefined },
    { name: '#1 incorrect', bad: [1], found: 2 },
    { name: '#2 incorrect (#1 derived from incorrect)', bad: [1, 2], found: 4 },
    { name: '#3 incorrect', bad: [3], found: 4 },
    { name: '#4 incorrect (1,2,3 derived from incorrect)', bad: [1, 2, 3, 4], found: 8 },
    { name: '#5 incorrect', bad: [5], found: 6 },
    { name: '#6 incorrect (5 derived from incorrect)', bad: [5, 6], found: 8 },
    { name: '#7 incorrect', bad: [7], found: 8 },
    { name: '#8 incorrect', bad: [8], found: 8 },
  ])('insert_secret $name', ({ bad, found }) => {
    let store = EMPTY_REVOCATIONS
    for (let n = 1; n <= 8; n++) {
      const secret = hexToBytes((bad as number[]).includes(n) ? wrong[n - 1]! : right[n - 1]!)
      const next = insertSecret(store, n - 1, secret)
      expect(isViolation(next), `insert ${n}`).toBe(n === found)
      if (isViolation(next)) return
      store = next
    }
    expect(store.length).toBe(4)
    for (let n = 0; n < 8; n++) expect(bytesToHex(findSecret(store, n)!)).toBe(right[n])
  })
})

test('every secret received can be found again, none that was not, in at most 49 entries', () => {
  let store = EMPTY_REVOCATIONS
  for (let n = 0; n < 300; n++) {
    expect(findSecret(store, n)).toBeUndefined()
    const next = insertSecret(store, n, secretOfNumber(ALL_ONES, n))
    if (isViolation(next)) throw new Error(next.code)
    store = next
  }
  for (let n = 0; n < 300; n++) expect(findSecret(store, n)).toEqual(secretOfNumber(ALL_ONES, n))
  expect(store.length).toBeLessThanOrEqual(49)
})

test('a secret that skips numbers is refused', () => {
  expect(isViolation(insertSecret(EMPTY_REVOCATIONS, 1, secretOfNumber(ALL_ONES, 1)))).toBe(true)
})
