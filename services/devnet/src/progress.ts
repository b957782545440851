/**
 * What the devnet says while it gets ready: one line a step, with a moving detail where the output is a terminal.
 */
export interface Progress {
  /** Runs a step and says how it went. `detail` may be called with how far it is. */
  step<T>(title: string, run: (detail: (text: string) => void) => Promise<T>): Promise<T>
  note(text: string): void
}

type Output = Pick<NodeJS.WriteStream, 'write' | 'isTTY'>

export const createProgress = (out: Output): Progress => {
  const live = out.isTTY
  return {
    async step(title, run) {
      const began = performance.now()
      const show = (text: string): void => {
        if (live) out.write(`\r\u001b[K  ${title} ... ${text}`)
      }
      const end = (text: string): void => {
        out.write(`${live ? '\r\u001b[K' : ''}  ${title} ... ${text}\n`)
      }
      show('')
      try {
        const result = await run(show)
        end(`${((performance.now() - began) / 1000).toFixed(1)} s`)
        return result
      } catch (error) {
        end('failed')
        throw error
      }
    },
    note(text) {
      out.write(`${live ? '\r\u001b[K' : ''}${text}\n`)
    },
  }
}

/** Columns padded to their widest cell. */
export const table = (rows: readonly (readonly string[])[]): string => {
  const widths = rows.reduce<number[]>((widest, row) => {
    row.forEach((cell, i) => (widest[i] = Math.max(widest[i] ?? 0, cell.length)))
    return widest
  }, [])
  return rows.map((row) => `  ${row.map((cell, i) => cell.padEnd(widths[i] as number)).join('   ')}`.trimEnd()).join('\n')
}
