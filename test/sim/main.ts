/**
 * The simulations: npm run sim -- network [...] plays a whole network of nodes (run.ts), npm run sim -- reorg [...] attackers against
 * the ledger (reorg.ts). The exit code says whether something is not as it should be.
 */
import { runReorg } from './reorg.ts'

const [name, ...args] = process.argv.slice(2)
const print = (text: string): void => void process.stdout.write(`${text}\n`)

if (name === 'reorg') process.exitCode = (await runReorg(args, print)) ? 0 : 1
else if (name === 'network') {
  // It reads its arguments by itself, as it does when it is run alone.
  process.argv.splice(2, 1)
  await import('./run.ts')
} else {
  print('npm run sim -- network [--seed N] [--seeds M] [--actions K] [--verbose]')
  print('npm run sim -- reorg [--seed N] [--races N] [--share Q --give-up BLOCKS] [--confirmations 1,2,3]')
  process.exitCode = 2
}
