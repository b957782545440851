/**
 * One devnet a data directory: a file with the process id of who uses it. A file left by a process that is gone is taken over.
 */
import { mkdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'

/** A process that has ended but was not fetched by its parent (a zombie) is as good as gone. Only Linux says so. */
const isZombie = (pid: number): boolean => {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return /^[ZX]/.test(stat.slice(stat.lastIndexOf(')') + 2))
  } catch {
    return false
  }
}

const isAlive = (pid: number): boolean => {
  try {
    process.kill(pid, 0)
    return !isZombie(pid)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}

/** Takes the directory, and gives the function that lets it go. Throws when another devnet has it. */
export const lockDatadir = (datadir: string): (() => void) => {
  mkdirSync(datadir, { recursive: true, mode: 0o700 })
  const file = join(datadir, 'devnet.lock')
  for (let tries = 0; ; tries++) {
    try {
      writeFileSync(file, `${process.pid}\n`, { flag: 'wx', mode: 0o600 })
      return () => rmSync(file, { force: true })
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error
    }
    const pid = Number(readFileSync(file, 'utf8'))
    if (tries > 0 || (Number.isSafeInteger(pid) && pid > 0 && pid !== process.pid && isAlive(pid)))
      throw new Error(
        `another devnet (process ${pid}) uses ${datadir}: stop it (Ctrl-C, or kill ${pid}), or choose another directory with --datadir`,
      )
    rmSync(file, { force: true })
  }
}
