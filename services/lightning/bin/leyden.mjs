#!/usr/bin/env node
/** `leyden`: its source by tsx inside the workspace, the built CLI where it is installed. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

const built = new URL('../dist/cli.js', import.meta.url)
const source = new URL('../src/cli.ts', import.meta.url)
/** Undefined outside the workspace. */
const tsx = (() => {
  try {
    return import.meta.resolve('tsx')
  } catch {
    return undefined
  }
})()
if (tsx !== undefined && existsSync(source)) {
  const child = spawn(
    process.execPath,
    ['--conditions=@leyden/source', '--import', tsx, fileURLToPath(source), ...process.argv.slice(2)],
    { stdio: 'inherit' },
  )
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 0 : 1)))
} else {
  const { run } = await import(built.href)
  await run(process.argv.slice(2))
}
