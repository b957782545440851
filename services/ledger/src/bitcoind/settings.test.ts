import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { configSchema } from '../config.ts'
import { checkSettings } from './check.ts'
import { configOf, OPTIONS } from './options.ts'
import { readSettings, type Settings } from './settings.ts'

let datadir: string
beforeAll(() => {
  datadir = mkdtempSync(join(tmpdir(), 'leyden-settings-'))
})
afterAll(() => rmSync(datadir, { recursive: true }))

const read = (file: string, ...words: readonly string[]): Settings => {
  writeFileSync(join(datadir, 'bitcoin.conf'), file)
  return readSettings([`-datadir=${datadir}`, ...words])
}

describe('the settings of bitcoind', () => {
  it('take words with one dash or two, and the last of them', () => {
    const settings = read('', '--regtest', '-port=1', '--port=2', '-uacomment=a', '-uacomment=b')
    expect([settings.chain, settings.int('port'), settings.list('uacomment')]).toEqual(['regtest', 2, ['a', 'b']])
    expect(settings.chainDir).toBe(join(datadir, 'regtest'))
  })

  it('stand in sections; the command line is over the file, the section over the top, and the first line counts', () => {
    const file = 'regtest=1\nrpcuser=top\nmocktime=5\n[regtest]\nport=7\nport=8\nrpcuser=section\n[signet]\nport=9\n'
    const settings = read(file, '-mocktime=6')
    expect([settings.int('port'), settings.text('rpcuser'), settings.int('mocktime')]).toEqual([7, 'section', 6])
  })

  it('of one network are not taken from the top of the file on another one, which is told', () => {
    const settings = read('regtest=1\nport=7\n')
    expect(settings.text('port')).toBeUndefined()
    expect(settings.misplaced).toEqual(['port'])
    expect(() => checkSettings(settings, () => '')).toThrow('-port only applied on regtest network when in [regtest] section')
  })

  it('are negated by no: what stands before is hidden, and twice negated is on', () => {
    const file = 'regtest=1\n[regtest]\nconnect=a\n'
    expect(read(file, '-noconnect').list('connect')).toEqual([])
    expect(read(file, '-connect=b', '-noconnect', '-connect=c').list('connect')).toEqual(['c', 'a'])
    expect(read(file, '-nolisten').bool('listen')).toBe(false)
    expect(read(file, '-nolisten=0').bool('listen')).toBe(true)
    expect(read('nolisten=1\n').isNegated('listen')).toBe(true)
  })

  it('take in further files that the file names, but not from the command line', () => {
    writeFileSync(join(datadir, 'more.conf'), 'uacomment=more\nincludeconf=third.conf\n')
    const settings = read('regtest=1\nincludeconf=more.conf\nuacomment=main\n')
    expect(settings.list('uacomment')).toEqual(['main', 'more'])
    expect(settings.notices).toEqual([
      'warning: -includeconf cannot be used from included files; ignoring -includeconf=third.conf',
    ])
    expect(read('includeconf=more.conf\n', '-noincludeconf').list('uacomment')).toEqual([])
    expect(() => read('', '-includeconf=more.conf')).toThrow('-includeconf cannot be used from commandline')
  })

  it('are refused in the words of bitcoind', () => {
    expect(() => read('', '-colour=red')).toThrow('Error parsing command line arguments: Invalid parameter -colour=red')
    expect(() => read('', 'red')).toThrow("Command line contains unexpected token 'red', see bitcoind -h for a list of options.")
    expect(() => read('', '-loglevel')).toThrow('Can not set -loglevel with no value')
    expect(() => read('', '-regtest', '-signet')).toThrow('Invalid combination of -regtest')
    expect(() => read('-port=1\n')).toThrow('options in configuration file must be specified without leading -')
    expect(() => read('nolisten\n')).toThrow('use nolisten=1 instead')
    expect(() => read('rpcpassword=a#b\n')).toThrow('using # in rpcpassword can be ambiguous')
    expect(() => readSettings([`-datadir=${join(datadir, 'nowhere')}`])).toThrow('does not exist')
  })

  it('show no password', () => {
    expect(read('regtest=1\n', '-rpcpassword=abc').told).toContain('Command-line arg: rpcpassword=****')
  })

  it('are not read from a bitcoin.conf that another one hides, unless that is allowed', () => {
    const other = join(datadir, 'other')
    mkdirSync(other, { recursive: true })
    writeFileSync(join(other, 'b.conf'), 'regtest=1\n')
    expect(() => read('', `-conf=${join(other, 'b.conf')}`)).toThrow('contains a "bitcoin.conf" file which is ignored')
    expect(read('', `-conf=${join(other, 'b.conf')}`, '-allowignoredconf').chain).toBe('regtest')
  })
})

describe('our configuration', () => {
  it('is filled by options that name a key of it', () => {
    const keys = Object.keys(configSchema.shape)
    expect(Object.values(OPTIONS).flatMap(({ to }) => (to === undefined || keys.includes(to) ? [] : [to]))).toEqual([])
    const words = ['-regtest', '-port=1', '-rpcport=2', '-addnode=[::1]', '-connect=h:5', '-connect=0', '-bind=127.0.0.1:6']
    expect(configOf(read('', ...words), 18_444)).toMatchObject({
      p2pBind: ['127.0.0.1:6'],
      rpcPort: 2,
      connect: ['h:5'],
      addNode: ['[::1]'],
      findPeers: false,
      listen: true,
      link: false,
    })
  })

  it('gives an address for peers the permissions that stand before it', () => {
    expect(configOf(read('', '-regtest', '-whitebind=noban,relay@127.0.0.1:7'), 1)).toMatchObject({
      p2pBind: ['127.0.0.1:7'],
      bindPermissions: 'noban,relay',
    })
    expect(() => configOf(read('', '-regtest', '-whitebind=noban@127.0.0.1/10'), 1)).toThrow('Cannot resolve -whitebind')
    expect(() => configOf(read('', '-regtest', '-bind=127.0.0.1', '-listen=0'), 1)).toThrow('together with -listen=0')
  })

  it('does not listen when it connects to named peers only, unless told to', () => {
    expect(configOf(read('', '-connect=h'), 1)).toMatchObject({ listen: false, connect: ['h:1'] })
    expect(configOf(read('', '-connect=h', '-bind=0.0.0.0'), 1)).toMatchObject({ listen: true, p2pBind: ['0.0.0.0'] })
    expect(configOf(read(''), 1)).toMatchObject({ listen: true })
  })
})
