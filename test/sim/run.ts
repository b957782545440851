/**
 * Runs seeds by hand: node --conditions=@leyden/source --import tsx test/sim/run.ts [--seed N] [--seeds M] [--actions K] [--old-copy] [--double-spends] [--verbose]
 * A seed that breaks something is printed with the end of its trace; the exit code says whether one did.
 */
import { parseArgs } from 'node:util'
import { runSeed } from './scenario.ts'

const { values } = parseArgs({
  options: {
    seed: { type: 'string', default: '1' },
    seeds: { type: 'string', default: '1' },
    actions: { type: 'string' },
    lines: { type: 'string', default: '60' },
    'old-copy': { type: 'boolean', default: false },
    'double-spends': { type: 'boolean', default: false },
    verbose: { type: 'boolean', default: false },
  },
})

const print = (text: string): void => void process.stdout.write(`${text}\n`)
const first = Number(values.seed)
const cpu = (): number => (process.cpuUsage().user + process.cpuUsage().system) / 1_000_000
const begun = cpu()
let bad = 0
for (let seed = first; seed < first + Number(values.seeds); seed++) {
  const started = cpu()
  const outcome = await runSeed(seed, {
    oldCopy: values['old-copy'],
    doubleSpends: values['double-spends'],
    ...(values.verbose ? { onLine: (line: string) => print(line) } : {}),
    ...(values.actions === undefined ? {} : { actions: Number(values.actions) }),
  })
  const took = (cpu() - started).toFixed(2)
  if (outcome.broken.length === 0) {
    print(`seed ${seed} ${outcome.traceHash} ${took} s ${JSON.stringify(outcome.summary)}`)
    continue
  }
  bad++
  if (!values.verbose) for (const line of outcome.lines.slice(-Number(values.lines))) print(`  ${line}`)
  print(`seed ${seed} ${outcome.traceHash} ${took} s BROKEN\n  ${outcome.broken.join('\n  ')}`)
}
print(`${Number(values.seeds) - bad} passed, ${bad} failed in ${(cpu() - begun).toFixed(1)} s of a processor`)
process.exitCode = bad === 0 ? 0 : 1
