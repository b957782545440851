import { chmodSync, mkdtempSync, readdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, describe, expect, it } from 'vitest'
import { loadSeed } from './seed-file.ts'
import { systemRandom } from './system.ts'

const made: string[] = []
const directory = (): string => {
  const path = mkdtempSync(join(tmpdir(), 'leyden-seed-'))
  made.push(path)
  return path
}
afterAll(() => {
  for (const path of made) rmSync(path, { recursive: true, force: true })
})
const modeOf = (path: string): number => statSync(path).mode & 0o777

describe('loadSeed', () => {
  it('makes one at the first start, for our eyes alone, and finds it again', () => {
    const datadir = join(directory(), 'deep', 'er')
    const first = loadSeed(datadir, systemRandom)
    expect([first.created, first.seed.length]).toEqual([true, 64])
    expect(readFileSync(join(datadir, 'seed'), 'utf8').trim().split(' ').length).toBe(24)
    expect([modeOf(join(datadir, 'seed')), modeOf(datadir)]).toEqual([0o600, 0o700])
    expect(loadSeed(datadir, systemRandom)).toEqual({ seed: first.seed, created: false })
    expect(readdirSync(datadir)).toEqual(['seed'])
  })

  it('B15: makes another each time', () => {
    const [a, b] = [directory(), directory()].map((datadir) => loadSeed(datadir, systemRandom).seed)
    expect(a).not.toEqual(b)
  })

  it('is the seed of BIP 39 for words from elsewhere, and closes the file to others', () => {
    const datadir = directory()
    const path = join(datadir, 'seed')
    writeFileSync(path, `  ${'abandon '.repeat(11)}about\n`, { mode: 0o644 })
    chmodSync(path, 0o644)
    const { seed, created } = loadSeed(datadir, systemRandom)
    expect([created, Buffer.from(seed).toString('hex').slice(0, 32)]).toEqual([false, '5eb00bbddcf069084889a8ab91555681'])
    expect(modeOf(path)).toBe(0o600)
  })

  it.each(['', 'abandon '.repeat(12), 'not the words of any seed', `${'abandon '.repeat(11)}abuot`])(
    'refuses a damaged file, does not touch it and does not repeat it (%#)',
    (words) => {
      const datadir = directory()
      const path = join(datadir, 'seed')
      writeFileSync(path, words)
      let message = ''
      try {
        loadSeed(datadir, systemRandom)
      } catch (error) {
        message = (error as Error).message
      }
      expect(message).toBe(`${path} does not hold the words of a seed: restore it from your backup`)
      expect(readFileSync(path, 'utf8')).toBe(words)
    },
  )

  it('starts anew after a crash in the middle of the making', () => {
    const datadir = directory()
    writeFileSync(join(datadir, 'seed.new'), 'half of the wo')
    expect(loadSeed(datadir, systemRandom).created).toBe(true)
    expect(readdirSync(datadir)).toEqual(['seed'])
  })
})
