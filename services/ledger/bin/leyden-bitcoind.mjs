#!/usr/bin/env node
/** `leyden-bitcoind`: its source by tsx inside the workspace, the built daemon where it is installed. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const built = new URL('../dist/bitcoind.js', import.meta.url)
const source = new URL('../src/bitcoind.ts', import.meta.url)
if (existsSync(source)) {
  const child = spawn(
    process.execPath,
    ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx'), fileURLToPath(source), ...process.argv.slice(2)],
    { stdio: 'inherit' },
  )
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 0 : 1)))
} else {
  const { bitcoind } = await import(built.href)
  await bitcoind(process.argv.slice(2))
}
