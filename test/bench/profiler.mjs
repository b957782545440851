/**
 * Loaded into a daemon before its own code: SIGUSR2 begins a CPU profile, the next SIGUSR2 ends it and writes it to the file that
 * BENCH_PROFILE names. So the profile is of the measured time alone.
 */
import { renameSync, writeFileSync } from 'node:fs'
import { Session } from 'node:inspector'

const file = process.env['BENCH_PROFILE']
const session = new Session()
session.connect()
const post = (method, params) =>
  new Promise((resolve, reject) => {
    session.post(method, params, (error, result) => (error === null ? resolve(result) : reject(new Error(error.message))))
  })

let running = false
const toggle = async () => {
  running = !running
  if (running) {
    await post('Profiler.enable')
    await post('Profiler.setSamplingInterval', { interval: 500 })
    await post('Profiler.start')
    return
  }
  const { profile } = await post('Profiler.stop')
  writeFileSync(`${file}.part`, JSON.stringify(profile))
  renameSync(`${file}.part`, file)
}
if (file !== undefined)
  process.on('SIGUSR2', () => {
    toggle().catch((error) => process.stderr.write(`${error}\n`))
  })
