/** Runs a program of this service: its source by tsx inside the workspace, the built file where it is installed. */
import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { fileURLToPath } from 'node:url'

/** `entry` is a file of src/ without its extension, and exports the program by the name `call`. */
export const run = async (entry, call) => {
  const args = process.argv.slice(2)
  const source = new URL(`../src/${entry}.ts`, import.meta.url)
  if (!existsSync(source)) {
    const built = await import(new URL(`../dist/${entry}.js`, import.meta.url).href)
    await built[call](args)
    return
  }
  const tsx = ['--conditions=@leyden/source', '--import', import.meta.resolve('tsx')]
  const child = spawn(process.execPath, [...tsx, fileURLToPath(source), ...args], { stdio: 'inherit' })
  for (const signal of ['SIGINT', 'SIGTERM']) process.on(signal, () => child.kill(signal))
  child.on('exit', (code, signal) => process.exit(code ?? (signal === null ? 0 : 1)))
}
