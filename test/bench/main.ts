/**
 * `npm run bench`: figures of this machine, side by side in one run, since only ratios can be compared with those of another day.
 * Nothing is asserted. `--quick` for a glance; names of parts to run only these.
 */
import { cpus } from 'node:os'
import { benchCodec } from './codec.ts'
import { benchCrypto } from './crypto.ts'
import { benchLedger } from './ledger.ts'
import { benchPayments } from './payments.ts'
import { note, type Settings } from './report.ts'
import { benchRouting } from './routing.ts'
import { benchStart } from './start.ts'
import { benchStore } from './store.ts'

const PARTS: Readonly<Record<string, (settings: Settings) => Promise<void>>> = {
  crypto: benchCrypto,
  codec: benchCodec,
  store: benchStore,
  ledger: benchLedger,
  routing: benchRouting,
  payments: benchPayments,
  start: benchStart,
}

const args = process.argv.slice(2)
const wanted = args.filter((arg) => !arg.startsWith('--'))
const unknown = [
  ...wanted.filter((name) => !(name in PARTS)),
  ...args.filter((arg) => arg.startsWith('--') && arg !== '--quick' && arg !== '--help'),
]
if (args.includes('--help') || unknown.length > 0) {
  if (unknown.length > 0) note(`unknown: ${unknown.join(', ')}`)
  note(`npm run bench -- [--quick] [${Object.keys(PARTS).join('] [')}]`)
  process.exit(unknown.length > 0 ? 2 : 0)
}

const processors = cpus()
note(`Node ${process.version}, ${processors.length} x ${processors[0]?.model.trim() ?? 'unknown'}`)
for (const [name, run] of Object.entries(PARTS))
  if (wanted.length === 0 || wanted.includes(name)) await run({ quick: args.includes('--quick') })
