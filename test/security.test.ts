/**
 * specs/security.md against the tests that it names: a row whose test is renamed, moved or deleted shows here. And one check that no
 * single package can make: where randomness comes from.
 */
import { execFileSync } from 'node:child_process'
import { existsSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = new URL('..', import.meta.url).pathname
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const sources = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard', '--', '*.ts'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file !== '' && existsSync(join(root, file)))

const numbered = (letter: string, count: number): string[] => Array.from({ length: count }, (_, i) => `${letter}${i + 1}`)
const IDS = [...numbered('S', 72), ...numbered('B', 15)]

const rows = read('specs/security.md')
  .split('\n')
  .flatMap((line) => {
    const cells = /^\| ([SB]\d+) \| (.+?) \| (.+) \|$/.exec(line)
    if (cells === null) return []
    const [, id = '', check = '', held = ''] = cells
    const tests = [...held.matchAll(/"([^"]+)" \(([^()\s]+)\)/g)].map(([, name = '', file = '']) => ({ name, file }))
    return [{ id, check, tests, notBuilt: /not built: \S/.test(held) }]
  })

/** The text is the whole name of a test, a group or a row of a table: a string by itself. */
const hasName = (file: string, name: string): boolean => {
  const text = read(file)
  return ["'", '"', '`'].some((quote) => text.includes(`${quote}${name}${quote}`))
}
const carries = (id: string, name: string): boolean => new RegExp(`\\b${id}\\b`).test(name)

describe('specs/security.md', () => {
  it('has every id once, in order, with a check', () => {
    expect(rows.map(({ id }) => id)).toEqual(IDS)
    expect(rows.filter(({ check }) => check.length < 20)).toEqual([])
  })

  it('names for every id a test, or what is not built', () => {
    expect(rows.filter(({ tests, notBuilt }) => tests.length === 0 && !notBuilt).map(({ id }) => id)).toEqual([])
  })

  it('names tests that exist, and carry the id', () => {
    const wrong = rows.flatMap(({ id, tests }) =>
      tests
        .filter(
          ({ name, file }) =>
            !file.endsWith('.test.ts') || !existsSync(join(root, file)) || !hasName(file, name) || !carries(id, name),
        )
        .map(({ name, file }) => `${id}: "${name}" (${file})`),
    )
    expect(wrong).toEqual([])
  })

  it('says of nothing that it is not built when a test is named for it', () => {
    const names = sources
      .filter((file) => /^(packages|services|test)\/.*\.test\.ts$/.test(file))
      .flatMap((file) => [...read(file).matchAll(/['"`]((?:[SB]\d+[, ]*)+): /g)].map(([, ids = '']) => ids))
    const wrong = rows.filter(({ id, tests }) => tests.length === 0 && names.some((name) => carries(id, name)))
    expect(wrong.map(({ id }) => id)).toEqual([])
    const unknown = names.flatMap((name) => name.match(/[SB]\d+/g) ?? []).filter((id) => !IDS.includes(id))
    expect(unknown).toEqual([])
  })
})

describe('randomness', () => {
  it('B15: is drawn in one place', () => {
    // The devnet picks a port to try with it.
    const allowed = new Set(['packages/crypto/src/random.ts', 'services/devnet/src/port.ts'])
    const pattern =
      /getRandomValues\(|\bMath\.random\(|\bcrypto\.random\w+\(|\brandomUUID\(|\brandom(Bytes|Int|FillSync)\b.*node:crypto|\bwebcrypto\b/
    const wrong = sources
      .filter((file) => /^(packages|services)\//.test(file) && !file.endsWith('.test.ts') && !allowed.has(file))
      .filter((file) => pattern.test(read(file)))
    expect(wrong).toEqual([])
  })
})
