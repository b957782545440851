/**
 * What bitcoind refuses to start with, and how it says so: options that are wrong or do not go together. Bitcoin Core 28.1 init.cpp,
 * AppInitParameterInteraction and AppInitMain. Only what a person can mistype is here; the rest is checked where it is used.
 */
import { existsSync, statSync } from 'node:fs'
import { BlockList, isIP } from 'node:net'
import { addSubnet } from '../subnet.ts'
import { parseHashedUser } from '../credentials.ts'
import { LOG_CATEGORIES } from './debug-log.ts'
import { InitError, type Settings } from './settings.ts'

/** BIP 14, and Bitcoin Core's SAFE_CHARS_UA_COMMENT. */
const SAFE_COMMENT = /^[A-Za-z0-9 .,;_?@-]*$/
const MAX_USER_AGENT = 256
const LOG_LEVELS = ['info', 'debug', 'trace']
const FILTER_TYPES = ['basic']

const invalidPort = (option: string, value: string): InitError =>
  new InitError(`Invalid port specified in -${option}: '${value}'`)

const isPort = (text: string): boolean => /^\d{1,5}$/.test(text) && Number(text) > 0 && Number(text) <= 65_535

/** Whether what stands behind the host, if anything, is a port. */
const hasGoodPort = (text: string): boolean => {
  const colon = text.lastIndexOf(':')
  if (colon <= 0) return true
  const isBracketed = text.startsWith('[') && text[colon - 1] === ']'
  const isLone = text.indexOf(':') === colon
  return isBracketed || isLone ? isPort(text.slice(colon + 1)) : true
}

const checkPorts = (settings: Settings): void => {
  for (const option of ['port', 'rpcport']) {
    const value = settings.text(option)
    if (value !== undefined && !isPort(value)) throw invalidPort(option, value)
  }
  const addresses = ['i2psam', 'onion', 'proxy', 'rpcbind', 'torcontrol', 'whitebind']
  const published = ['hashblock', 'hashtx', 'rawblock', 'rawtx', 'sequence'].map((topic) => `zmqpub${topic}`)
  for (const option of [...addresses, ...published]) {
    const mayBePath = published.includes(option) || option === 'onion' || option === 'proxy'
    for (const value of settings.list(option)) {
      const address = value.replace(/^tcp:\/\//, '')
      if (!hasGoodPort(address) && !(mayBePath && value.startsWith('unix:'))) throw invalidPort(option, value)
    }
  }
  for (const value of settings.list('bind')) if (!hasGoodPort(value.replace(/=[^=]*$/, ''))) throw invalidPort('bind', value)
}

const checkLog = (settings: Settings): void => {
  const known = (name: string): boolean => ['', '1', 'all', '0', 'none'].includes(name) || LOG_CATEGORIES.includes(name)
  for (const option of ['debug', 'debugexclude'])
    for (const name of settings.list(option))
      if (!known(name)) throw new InitError(`Unsupported logging category -${option}=${name}.`)
  for (const level of settings.list('loglevel')) {
    if (!level.slice(3).includes(':')) {
      if (!LOG_LEVELS.includes(level))
        throw new InitError(`Unsupported global logging level -loglevel=${level}. Valid values: ${LOG_LEVELS.join(', ')}.`)
      continue
    }
    const [category, name, ...rest] = level.split(':') as [string, string]
    if (rest.length > 0 || !LOG_CATEGORIES.includes(category) || !LOG_LEVELS.includes(name))
      throw new InitError(
        `Unsupported category-specific logging level -loglevel=${level}. Expected -loglevel=<category>:<loglevel>. ` +
          `Valid categories: ${LOG_CATEGORIES.join(', ')}. Valid loglevels: ${LOG_LEVELS.join(', ')}.`,
      )
  }
}

const checkPeers = (settings: Settings): void => {
  if (settings.bool('forcednsseed') === true && settings.bool('dnsseed') === false)
    throw new InitError('Cannot set -forcednsseed to true when setting -dnsseed to false.')
  const listens = settings.bool('listen')
  if (listens === false && settings.list('bind').length + settings.list('whitebind').length > 0)
    throw new InitError('Cannot set -bind or -whitebind together with -listen=0')
  if (listens === false && settings.bool('listenonion') === true)
    throw new InitError('Cannot set -listen=0 together with -listenonion=1')
  if ((settings.int('peertimeout') ?? 1) <= 0) throw new InitError('peertimeout must be a positive integer.')
  const networks = settings.list('onlynet')
  const unknown = networks.find((name) => !['ipv4', 'ipv6', 'onion', 'i2p', 'cjdns'].includes(name.toLowerCase()))
  if (unknown !== undefined) throw new InitError(`Unknown network specified in -onlynet: '${unknown}'`)
  const isHidden = networks.length > 0 && !networks.some((name) => ['ipv4', 'ipv6'].includes(name.toLowerCase()))
  if (isHidden && settings.bool('dnsseed') === true)
    throw new InitError(
      'Incompatible options: -dnsseed=1 was explicitly specified, but -onlynet forbids connections to IPv4/IPv6',
    )
}

const checkUserAgent = (settings: Settings, userAgent: (comments: readonly string[]) => string): void => {
  const comments = settings.list('uacomment')
  const unsafe = comments.find((comment) => !SAFE_COMMENT.test(comment))
  if (unsafe !== undefined) throw new InitError(`User Agent comment (${unsafe}) contains unsafe characters.`)
  const { length } = userAgent(comments)
  if (length > MAX_USER_AGENT)
    throw new InitError(
      `Total length of network version string (${length}) exceeds maximum length (${MAX_USER_AGENT}). ` +
        'Reduce the number or size of uacomments.',
    )
}

const checkStorage = (settings: Settings): void => {
  const blocks = settings.text('blocksdir')
  if (blocks !== undefined && blocks !== '' && !(existsSync(blocks) && statSync(blocks).isDirectory()))
    throw new InitError(`Specified blocks directory "${blocks}" does not exist.`)
  const filters = settings.text('blockfilterindex') ?? '0'
  const named = ['', '0', '1'].includes(filters) ? [] : settings.list('blockfilterindex')
  const unknown = named.find((name) => !FILTER_TYPES.includes(name))
  if (unknown !== undefined) throw new InitError(`Unknown -blockfilterindex value ${unknown}.`)
  if (settings.bool('peerblockfilters') === true && filters === '0')
    throw new InitError('Cannot set -peerblockfilters without -blockfilterindex.')
  if ((settings.int('prune') ?? 0) !== 0) {
    if (settings.bool('txindex') === true) throw new InitError('Prune mode is incompatible with -txindex.')
    if (settings.bool('reindex-chainstate') === true)
      throw new InitError('Prune mode is incompatible with -reindex-chainstate. Use full -reindex instead.')
  }
}

const checkCalls = (settings: Settings): void => {
  for (const subnet of settings.list('rpcallowip'))
    if (!addSubnet(new BlockList(), subnet))
      throw new InitError(
        `Invalid -rpcallowip subnet specification: ${subnet}. Valid are a single IP (e.g. 1.2.3.4), a network/netmask ` +
          '(e.g. 1.2.3.4/255.255.255.0) or a network/CIDR (e.g. 1.2.3.4/24).',
      )
  const perms = settings.text('rpccookieperms')
  const isBadUser =
    (settings.text('rpcauth') ?? '') !== '' && settings.list('rpcauth').some((text) => parseHashedUser(text) === undefined)
  const isBadAddress = settings
    .list('rpcbind')
    .some((text) => isIP(text.replace(/^\[|\](:\d+)?$/g, '').replace(/^([\d.]+):\d+$/, '$1')) === 0)
  if (
    isBadUser ||
    (perms !== undefined && !['owner', 'group', 'all'].includes(perms)) ||
    (isBadAddress && settings.list('rpcallowip').length > 0)
  )
    throw new InitError('Unable to start HTTP server. See debug log for details.')
}

/** Throws {@link InitError}. `userAgent`: what it would be with these comments. */
export const checkSettings = (settings: Settings, userAgent: (comments: readonly string[]) => string): void => {
  const { chain } = settings
  if (settings.misplaced.length > 0)
    throw new InitError(
      settings.misplaced
        .map((name) => `Config setting for -${name} only applied on ${chain} network when in [${chain}] section.`)
        .join('\n'),
    )
  checkStorage(settings)
  checkPeers(settings)
  checkLog(settings)
  if (chain !== 'regtest' && settings.list('test').length > 0) throw new InitError('-test=<option> can only be used with regtest')
  if (chain !== 'regtest' && settings.bool('acceptstalefeeestimates') === true)
    throw new InitError(`acceptstalefeeestimates is not supported on ${chain} chain.`)
  checkPorts(settings)
  checkUserAgent(settings, userAgent)
  checkCalls(settings)
}
