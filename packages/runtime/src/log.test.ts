import { expect, it } from 'vitest'
import { limitLog, type Log } from './log.ts'

it('B9: strangers get so many log lines a minute, and what is left out is counted', () => {
  const lines: string[] = []
  const write = (fields: object, message: string): void => void lines.push(`${message} ${JSON.stringify(fields)}`)
  const log: Log = { debug: write, info: write, warn: write, error: write }
  let time = 0
  const limited = limitLog(log, () => time, 3)
  for (let n = 0; n < 10; n++) limited.info({ n }, 'peer connected')
  expect(lines).toEqual(['peer connected {"n":0}', 'peer connected {"n":1}', 'peer connected {"n":2}'])
  time = 60_000
  limited.warn({}, 'again')
  expect(lines.slice(3)).toEqual(['log lines were left out {"lines":7}', 'again {}'])
})
