/** Commands of the operator that are run when something happens: bitcoind's -startupnotify, -blocknotify, -shutdownnotify. */
import { spawn } from 'node:child_process'
import type { Log } from '@leyden/runtime'

/** Runs a command line in the system's shell, `%s` in it replaced; the word is ours, never a peer's. Ends when it ends. */
export const runCommand = (command: string, word: string, log: Log): Promise<void> =>
  new Promise((resolve) => {
    const child = spawn(command.replaceAll('%s', word), { shell: true, stdio: 'ignore' })
    child.on('error', (error) => {
      log.warn({ error: error.message }, 'a command for notification did not start')
      resolve()
    })
    child.on('close', (code) => {
      if (code !== 0) log.warn({ code }, 'a command for notification failed')
      resolve()
    })
  })
