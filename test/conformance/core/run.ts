/**
 * Bitcoin Core's functional tests against our ledger: `LEYDEN_CORE_TESTS=<source tree of Core> npm run conformance:core -- [names]`.
 * specs/conformance.md says how, and holds the table of what passes; without names, its rows that pass are run.
 * The tests belong to Core and are not kept here.
 */
import { spawn } from 'node:child_process'
import { createWriteStream, mkdirSync, mkdtempSync, readFileSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'

const ROOT = fileURLToPath(new URL('../../..', import.meta.url))
const SKIPPED = 77

/**
 * Loaded by Python before the test: Core's tests look for sentences of Core in debug.log, and ours are other ones. What they look for is
 * not compared, but time is given for it to happen.
 */
const NO_LOG_CHECKS = `
import contextlib, importlib.abc, importlib.util, sys, time

@contextlib.contextmanager
def _unchecked(self, expected_msgs, *args, **kwargs):
    yield
    time.sleep(0.3 if expected_msgs else 0)

class _Finder(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != 'test_framework.test_node':
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        run = spec.loader.exec_module
        def exec_module(module):
            run(module)
            module.TestNode.assert_debug_log = _unchecked
            module.TestNode.busy_wait_for_debug_log = _unchecked
        spec.loader.exec_module = exec_module
        return spec

sys.meta_path.insert(0, _Finder())
`

type Row = { readonly name: string; readonly passes: boolean }
const tableRows = (): readonly Row[] =>
  [...readFileSync(join(ROOT, 'specs/conformance.md'), 'utf8').matchAll(/^\| `([^`]+\.py[^`]*)` \| (\w+)/gm)].map(
    ([, name, verdict]) => ({ name: name as string, passes: verdict === 'passes' }),
  )

const say = (line: string): void => void process.stdout.write(`${line}\n`)

type Result = { readonly name: string; readonly outcome: 'passed' | 'skipped' | 'failed'; readonly seconds: number }

const { values: options, positionals: names } = parseArgs({
  allowPositionals: true,
  options: {
    all: { type: 'boolean', default: false },
    jobs: { type: 'string', short: 'j', default: '1' },
    'check-log': { type: 'boolean', default: false },
    timeout: { type: 'string', default: '1200' },
    keep: { type: 'string' },
  },
})
const tree = process.env['LEYDEN_CORE_TESTS']
if (tree === undefined || tree === '') {
  say('LEYDEN_CORE_TESTS=<source tree of Bitcoin Core 28.1, configured> is missing: see specs/conformance.md')
  process.exit(2)
}

const home = options.keep ?? mkdtempSync(join(tmpdir(), 'leyden-core-'))
mkdirSync(home, { recursive: true })
const shim = join(home, 'python')
mkdirSync(shim, { recursive: true })
writeFileSync(join(shim, 'sitecustomize.py'), NO_LOG_CHECKS)

// The messages that are compared name the program; parts that are not here are not asked for.
const configFile = join(home, 'config.ini')
writeFileSync(
  configFile,
  readFileSync(join(tree, 'test/config.ini'), 'utf8')
    .replace(/^PACKAGE_NAME=.*$/m, 'PACKAGE_NAME=Leyden ledger')
    .replace(/^(?=ENABLE_(WALLET|EXTERNAL_SIGNER|USDT))/gm, '#'),
)

const build = spawn(process.execPath, [join(ROOT, 'node_modules/typescript/bin/tsc'), '-b'], { cwd: ROOT, stdio: 'inherit' })
await new Promise((resolve) => build.once('exit', resolve))

/** `job`: each has its own copy of the chain that many tests start from, so that no two make it at once. */
const runOne = (name: string, job: number): Promise<Result> => {
  const [file, ...args] = name.split(' ')
  const directory = join(home, name.replaceAll(/\W+/g, '_'))
  const output = createWriteStream(`${directory}.log`)
  const startedAt = performance.now()
  const child = spawn(
    'python3',
    [
      join(tree, 'test/functional', file as string),
      ...args,
      `--configfile=${configFile}`,
      `--tmpdir=${directory}-${process.pid}`,
      `--cachedir=${join(home, `cache-${job}`)}`,
      ...(options.keep === undefined ? [] : ['--nocleanup']),
    ],
    {
      stdio: ['ignore', 'pipe', 'pipe'],
      // A group of its own, so that what a test has started ends with it.
      detached: true,
      env: {
        ...process.env,
        BITCOIND: join(ROOT, 'test/conformance/core/bitcoind'),
        PYTHONDONTWRITEBYTECODE: '1',
        ...(options['check-log'] ? {} : { PYTHONPATH: shim }),
      },
    },
  )
  child.stdout.pipe(output, { end: false })
  child.stderr.pipe(output, { end: false })
  const end = (signal: NodeJS.Signals): void => {
    try {
      if (child.pid !== undefined) process.kill(-child.pid, signal)
    } catch {
      // It has ended.
    }
  }
  const timer = setTimeout(
    () => {
      end('SIGINT')
      setTimeout(() => end('SIGKILL'), 20_000).unref()
    },
    Number(options.timeout) * 1000,
  )
  return new Promise((resolve) => {
    child.once('close', (code) => {
      clearTimeout(timer)
      output.end()
      const outcome = code === 0 ? 'passed' : code === SKIPPED ? 'skipped' : 'failed'
      resolve({ name, outcome, seconds: Math.round((performance.now() - startedAt) / 1000) })
    })
  })
}

const wanted = names.length > 0 ? names : tableRows().flatMap(({ name, passes }) => (passes || options.all ? [name] : []))
const waiting = [...wanted]
const results: Result[] = []
const worker = async (job: number): Promise<void> => {
  for (let name = waiting.shift(); name !== undefined; name = waiting.shift()) {
    const result = await runOne(name, job)
    results.push(result)
    say(`${result.outcome.padEnd(8)} ${String(result.seconds).padStart(5)} s  ${name}`)
  }
}
await Promise.all(Array.from({ length: Number(options.jobs) }, (_, job) => worker(job)))
const count = (outcome: Result['outcome']): number => results.filter((result) => result.outcome === outcome).length
say(`${count('passed')} passed, ${count('skipped')} skipped, ${count('failed')} failed; output of each: ${home}`)
process.exit(count('failed') === 0 ? 0 : 1)
