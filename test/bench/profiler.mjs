/**
 * Loaded into a daemon before its own code: SIGUSR2 begins a CPU profile, the next SIGUSR2 ends it and writes it to the file that
 * BENCH_PROFILE names. So the profile is of the measured time alone. With it goes how often the daemon signed and checked a signature in
 * that time, where it does so by the native library.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'
import { createRequire } from 'node:module'

const file = process.env['BENCH_PROFILE']
const session = new Session()
session.connect()
const post = (method, params) =>
  new Promise((resolve, reject) => {
    session.post(method, params, (error, result) => (error === null ? resolve(result) : reject(new Error(error.message))))
  })

const counts = { signed: 0, verified: 0 }
const count = (bindings, name, as) => {
  const run = bindings[name]
  bindings[name] = (...args) => {
    counts[as]++
    return run(...args)
  }
}
try {
  const bindings = createRequire(import.meta.url)('secp256k1/bindings.js')
  count(bindings, 'ecdsaSign', 'signed')
  count(bindings, 'ecdsaVerify', 'verified')
} catch {
  // another library signs, and nobody counts
}

let running = false
const toggle = async () => {
  running = !running
  if (running) {
    await post('Profiler.enable')
    await post('Profiler.setSamplingInterval', { interval: 500 })
    await post('Profiler.start')
    counts.signed = counts.verified = 0
    return
  }
  const counted = { ...counts }
  const { profile } = await post('Profiler.stop')
  writeFileSync(`${file}.part`, JSON.stringify({ ...profile, counted }))
  renameSync(`${file}.part`, file)
}
if (file !== undefined)
  process.on('SIGUSR2', () => {
    toggle().catch((error) => process.stderr.write(`${error}\n`))
  })
