import { describe, expect, it } from 'vitest'
import { parseAddress } from '@leyden/p2p'
import { completeConfig, configSchema } from '../config.ts'
import { PEER_HELP } from './help.ts'
import { parseGrant, parseWhitelisted, permissionsFor, type Grants } from './permissions.ts'

const HERE = parseAddress('127.0.0.1')!
const grants = (whitelist: readonly string[], fields: Partial<Grants> = {}): Grants => ({
  whitelist: whitelist.map(parseWhitelisted),
  inbound: new Set(),
  relay: true,
  forceRelay: false,
  ...fields,
})
const inbound = (given: Grants): string[] => [...permissionsFor(HERE, 'inbound', given)].sort()

describe('permissions', () => {
  it('are those of every entry with the address, and bring others with them (p2p_permissions.py)', () => {
    expect(inbound(grants(['127.0.0.1']))).toEqual(['download', 'mempool', 'noban', 'relay'])
    expect(inbound(grants(['@127.0.0.1'], { forceRelay: true }))).toEqual([])
    expect(inbound(grants(['127.0.0.1'], { relay: false }))).toEqual(['download', 'mempool', 'noban'])
    expect(inbound(grants(['127.0.0.1'], { forceRelay: true }))).toEqual(['download', 'forcerelay', 'mempool', 'noban', 'relay'])
    expect(inbound(grants(['noban@127.0.0.0/8', 'bloom,mempool@127.0.0.1']))).toEqual([
      'bloomfilter',
      'download',
      'mempool',
      'noban',
    ])
    expect(inbound(grants(['noban@10.0.0.0/8']))).toEqual([])
    expect(inbound(grants([], { inbound: parseGrant('forcerelay@').permissions }))).toEqual(['forcerelay', 'relay'])
    expect(inbound(grants(['all@127.0.0.1']))).toHaveLength(7)
  })

  it('are for who connects to us, unless they say otherwise', () => {
    const outbound = (text: string): string[] => [...permissionsFor(HERE, 'outbound', grants([text]))].sort()
    expect([outbound('noban@127.0.0.1'), outbound('noban,out@127.0.0.1')]).toEqual([[], ['download', 'noban']])
    expect(inbound(grants(['noban,out@127.0.0.1']))).toEqual([])
    expect(inbound(grants(['noban,in,out@127.0.0.1']))).toEqual(['download', 'noban'])
  })

  it('that are none are refused in the words of bitcoind', () => {
    expect(() => parseWhitelisted('in,out@127.0.0.1')).toThrow("Only direction was set, no permissions: 'in,out@127.0.0.1'")
    expect(() => parseWhitelisted('oopsie@127.0.0.1')).toThrow("Invalid P2P permission: 'oopsie'")
    expect(() => parseWhitelisted('noban@127.0.0.1:230')).toThrow("Invalid netmask specified in -whitelist: '127.0.0.1:230'")
  })
})

it('every setting of the help is one of the configuration', () => {
  const known = Object.keys(configSchema.shape)
  expect(Object.keys(PEER_HELP).filter((name) => !known.includes(name))).toEqual([])
  expect(completeConfig({ datadir: '/x', whitelist: 'noban@127.0.0.1  relay@10.0.0.0/8' }).whitelist).toEqual([
    'noban@127.0.0.1',
    'relay@10.0.0.0/8',
  ])
})
