/**
 * What a compiler does not see: the arrows between packages, what the cores may not touch, and words that have no place in a file.
 * The rules are those of the README's picture; a line of this test is the rule, not a comment on it.
 */
import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'

const root = new URL('..', import.meta.url).pathname
const files = execFileSync('git', ['ls-files', '-z', '--cached', '--others', '--exclude-standard'], {
  cwd: root,
  encoding: 'utf8',
})
  .split('\0')
  .filter((file) => file !== '')
const read = (file: string): string => readFileSync(join(root, file), 'utf8')
const sources = files.filter((file) => /^packages\/[^/]+\/src\/.*\.ts$/.test(file))
const code = sources.filter((file) => !file.endsWith('.test.ts'))

/** Package -> what it may import. */
const ARROWS: Readonly<Record<string, readonly string[]>> = {
  codec: [],
  crypto: ['codec'],
  bitcoin: ['codec', 'crypto'],
  ledger: ['codec', 'crypto', 'bitcoin'],
  p2p: ['codec', 'crypto', 'bitcoin'],
  wallet: ['codec', 'crypto', 'bitcoin'],
  lnwire: ['codec', 'crypto', 'bitcoin'],
  channel: ['codec', 'crypto', 'bitcoin', 'lnwire'],
  onion: ['codec', 'crypto', 'bitcoin', 'lnwire'],
  routing: ['codec', 'crypto', 'bitcoin', 'lnwire'],
  payment: ['codec', 'crypto', 'bitcoin', 'lnwire', 'onion', 'routing'],
  runtime: ['codec'],
  link: ['codec', 'crypto', 'bitcoin'],
  api: ['codec', 'crypto', 'bitcoin'],
}

const importsOf = (text: string): string[] =>
  [...text.matchAll(/(?:from|import)\s*\(?\s*'([^']+)'/g)].map((match) => match[1] as string)

/** Lines of a file (without comments) that match, as `file:line`. */
const linesWith = (file: string, pattern: RegExp): string[] =>
  read(file)
    .split('\n')
    .flatMap((line, i) => (!/^\s*(\/\/|\*|\/\*)/.test(line) && pattern.test(line) ? [`${file}:${i + 1}`] : []))

describe('arrows', () => {
  it('has a rule for every package', () => {
    expect(new Set(sources.map((file) => file.split('/')[1]))).toEqual(new Set(Object.keys(ARROWS)))
  })

  it('points down only', () => {
    const wrong = sources.flatMap((file) => {
      const name = file.split('/')[1] as string
      return importsOf(read(file)).flatMap((target) => {
        const other = /^@leyden\/([^/]+)/.exec(target)?.[1]
        return other === undefined || other === name || (ARROWS[name] ?? []).includes(other) ? [] : [`${file} -> ${target}`]
      })
    })
    expect(wrong).toEqual([])
  })

  it('goes through the doors: no inner file of another package, no service, no path out of a package', () => {
    const doors = new Set(['@leyden/runtime/store/lmdb', '@leyden/api/client', '@leyden/bitcoin/network-file'])
    const wrong = files
      .filter((file) => /^(packages|services|test)\/.*\.ts$/.test(file))
      .flatMap((file) =>
        importsOf(read(file)).flatMap((target) => {
          const inner = /^@leyden\/[^/]+\/./.test(target) && !doors.has(target)
          const service = file.startsWith('packages/') && /^@leyden\/[^/]+-service/.test(target)
          const depth = file.split('/').length - 2
          const out = file.startsWith('packages/') && target.startsWith('../'.repeat(depth))
          return inner || service || out ? [`${file} -> ${target}`] : []
        }),
      )
    expect(wrong).toEqual([])
  })
})

describe('cores', () => {
  it('import nothing of Node', () => {
    const wrong = code
      .filter((file) => file !== 'packages/runtime/src/store/lmdb.ts')
      .flatMap((file) => importsOf(read(file)).flatMap((target) => (target.startsWith('node:') ? [`${file} -> ${target}`] : [])))
    expect(wrong).toEqual([])
  })

  it('read no clock, draw no random numbers, set no timers and print nothing', () => {
    const pattern =
      /\bDate\.now\(|new Date\(\)|\bMath\.random\(|\bperformance\.now\(|\bset(Timeout|Interval|Immediate)\(|\bconsole\./
    // api is an HTTP edge: its event stream has a heartbeat.
    const allowed = new Set(['packages/api/src/app.ts', 'packages/runtime/src/store/lmdb.ts', 'packages/crypto/src/random.ts'])
    expect(code.filter((file) => !allowed.has(file)).flatMap((file) => linesWith(file, pattern))).toEqual([])
  })

  it('name a database only under runtime/store', () => {
    const wrong = files
      .filter((file) => /^(packages|services)\/.*\.ts$/.test(file) && !file.startsWith('packages/runtime/src/store/'))
      .flatMap((file) =>
        importsOf(read(file)).flatMap((target) => (/^(lmdb|postgres|pg)$/.test(target) ? [`${file} -> ${target}`] : [])),
      )
    expect(wrong).toEqual([])
  })

  it('reach curves, hashes and ciphers through crypto alone', () => {
    const wrong = files
      .filter((file) => /^(packages|services)\/.*\.ts$/.test(file) && !file.startsWith('packages/crypto/'))
      .flatMap((file) =>
        importsOf(read(file)).flatMap((target) =>
          /^(@noble\/|secp256k1|tiny-secp256k1)/.test(target) ? [`${file} -> ${target}`] : [],
        ),
      )
    expect(wrong).toEqual([])
  })
})

describe('files', () => {
  const text = files.filter((file) => /\.(ts|mjs|json|md|html|css|tsx)$/.test(file) || file === '.ci/run')

  it('stand where the workspace has a place for them', () => {
    const allowed =
      /^(packages|services|test|specs)\/|^(package\.json|package-lock\.json|tsconfig\.json|README\.md|LICENSE|CHANGELOG\.md)$|^\./
    expect(files.filter((file) => !allowed.test(file))).toEqual([])
  })

  it('name no absolute path of a machine', () => {
    const wrong = text
      .filter((file) => file !== 'test/tidy.test.ts')
      .flatMap((file) => linesWith(file, /['"`\s](\/home|\/work|\/root|\/Users|\/tmp)\//))
    expect(wrong).toEqual([])
  })

  it('name no host but loopback, examples and the specifications', () => {
    const allowed =
      /^(127\.0\.0\.1|localhost|0\.0\.0\.0|\[::1\]|x|host|ledger|node|([a-z0-9-]+\.)*example(\.(com|org|net))?|github\.com|(www\.)?w3\.org|json\.schemastore\.org|opensource\.org|.*\$\{.*|\$.*)$/
    const wrong = text
      .filter((file) => file !== 'package-lock.json' && !file.startsWith('test/interop/ldk/'))
      .flatMap((file) =>
        [...read(file).matchAll(/\b(?:https?|wss?):\/\/([^\s/'"`)>\]:]+|\[[^\]]*\])/g)].flatMap((match) =>
          allowed.test(match[1] as string) ? [] : [`${file}: ${match[0]}`],
        ),
      )
    expect(wrong).toEqual([])
  })

  it('are finished', () => {
    const pattern = /\b(T[O]DO|F[I]XME|X[X]X|H[A]CK)\b/
    const wrong = files
      .filter((file) => /^(packages|services|test)\/.*\.(ts|mjs)$/.test(file))
      .filter((file) => pattern.test(read(file)))
    expect(wrong).toEqual([])
  })
})
