import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { ConfigError, loadConfig } from './config.ts'

let datadir = ''
const made: string[] = []
beforeEach(() => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-config-'))
  made.push(datadir)
})
afterAll(() => {
  for (const directory of made) rmSync(directory, { recursive: true, force: true })
})

const file = (content: unknown): void =>
  writeFileSync(join(datadir, 'leyden.json'), typeof content === 'string' ? content : JSON.stringify(content))
const load = (flags: Record<string, unknown> = {}, env: Record<string, string> = {}) => loadConfig({ datadir, ...flags }, env)
/** The sentence of the refusal. */
const refused = (flags: Record<string, unknown> = {}, env: Record<string, string> = {}): string => {
  try {
    load(flags, env)
  } catch (error) {
    if (error instanceof ConfigError) return error.message
    throw error
  }
  throw new Error('it was taken')
}

describe('loadConfig', () => {
  it('has a default for everything', () => {
    expect(load()).toEqual({
      datadir,
      network: 'regtest',
      alias: 'leyden',
      listen: ['127.0.0.1:9735'],
      listenWebsocket: [],
      announce: [],
      api: '127.0.0.1:9740',
      apiHosts: [],
      ledger: 'ws://127.0.0.1:18445',
      logLevel: 'info',
      feeBaseMsat: 1000,
      feeProportionalMillionths: 100,
      cltvExpiryDelta: 80,
      attackerPercent: 10,
      maxLossSat: 10_000,
    })
  })

  it('takes a flag before the environment before the file', () => {
    file({ alias: 'file', feeBaseMsat: 1, listen: ['127.0.0.1:1'] })
    expect(load()).toMatchObject({ alias: 'file', feeBaseMsat: 1, listen: ['127.0.0.1:1'] })
    const env = { LEYDEN_ALIAS: 'env', LEYDEN_FEE_BASE_MSAT: '2' }
    expect(load({}, env)).toMatchObject({ alias: 'env', feeBaseMsat: 2, listen: ['127.0.0.1:1'] })
    expect(load({ alias: 'flag' }, env)).toMatchObject({ alias: 'flag', feeBaseMsat: 2 })
    expect(loadConfig({}, { LEYDEN_DATADIR: datadir })).toMatchObject({ datadir, alias: 'file' })
  })

  it('reads lists with commas, and an empty one', () => {
    expect(load({ listen: '127.0.0.1:1, [::1]:2,', listenWebsocket: '', apiHosts: 'a.example,b.example' })).toMatchObject({
      listen: ['127.0.0.1:1', '[::1]:2'],
      listenWebsocket: [],
      apiHosts: ['a.example', 'b.example'],
    })
  })

  it('names the setting and where it came from', () => {
    expect(refused({ listen: 'nowhere' })).toBe('listen (from --listen): must be host:port')
    expect(refused({ cltvExpiryDelta: '5' })).toBe('cltvExpiryDelta (from --cltv-expiry-delta): at least 18')
    expect(refused({}, { LEYDEN_MINIMUM_DEPTH: '200' })).toBe('minimumDepth (from LEYDEN_MINIMUM_DEPTH): at most 144')
    file({ network: 'moonnet' })
    expect(refused()).toMatch(/^network \(from .*leyden\.json\): .*"regtest"/)
    expect(refused({ api: '9740', alias: 'x'.repeat(33) }).split('\n').length).toBe(3)
  })

  it.each(['', '-1', '1.5', '1e3', '0x10', ' 5', '99999999999999999999', 'ten'])('takes no "%s" for a whole number', (text) => {
    expect(refused({ feeBaseMsat: text })).toContain('feeBaseMsat (from --fee-base-msat): ')
  })

  it.each([null, true, [], {}])('takes no %j for a whole number in the file', (value) => {
    file({ feeBaseMsat: value })
    expect(refused()).toContain('feeBaseMsat')
  })

  it.each([
    ['ledger', 'http://127.0.0.1:1'],
    ['ledger', '127.0.0.1:1'],
    ['logLevel', 'loud'],
    ['api', 'host:99999'],
  ])('refuses %s %s', (name, value) => {
    expect(refused({ [name]: value })).toContain(name)
  })

  it('measures the alias in bytes', () => {
    expect(load({ alias: '\u20bf'.repeat(10) }).alias).toBe('\u20bf'.repeat(10))
    expect(refused({ alias: '\u20bf'.repeat(11) })).toContain('alias (from --alias): at most 32 bytes')
  })

  it('refuses a file that is not one object of known settings', () => {
    file('{"alias": ')
    expect(refused()).toMatch(/leyden\.json is not JSON/)
    for (const content of ['null', '[]', '"x"', '5']) {
      file(content)
      expect(refused()).toMatch(/leyden\.json must hold one JSON object of settings$/)
    }
    file({ alais: 'x' })
    expect(refused()).toMatch(/leyden\.json: unknown setting "alais"; known are network, networkFile, alias, /)
  })

  it('refuses flags that it does not know, in either spelling of those that it does', () => {
    expect(refused({ lisen: '127.0.0.1:1' })).toBe('unknown flag --lisen; see --help')
    expect(load({ _: [], 'fee-base-msat': '7', feeBaseMsat: '7' }).feeBaseMsat).toBe(7)
  })
})
