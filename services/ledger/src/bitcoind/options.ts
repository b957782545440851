/**
 * The options of bitcoind 28.1 (its init.cpp), and what each of them sets here. This is the one table that maps bitcoind's spelling to
 * ours: a row with `to` fills that key of config.ts. A row without is known, so that nobody's command line is refused for it, and
 * changes nothing: what it would ask for does not exist here, or is always so.
 */
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { LedgerConfigInput } from '../config.ts'
import { mempoolSettingsProblem } from '../mempool-config.ts'
import { MEMPOOL_OPTIONS } from './mempool-options.ts'
import { InitError, type Settings } from './settings.ts'

type ConfigKey = Exclude<keyof LedgerConfigInput, 'datadir' | 'network'>

/** The value of an option for our configuration; undefined leaves the default. */
type Read = (settings: Settings, name: string) => unknown

export type Option = {
  /** What stands behind `=`, in the help. */
  readonly hint?: string
  readonly about?: string
  /** On other networks than the main one it counts only in the network's section of the file. */
  readonly networkOnly?: true
  /** Its value is not shown in the log. */
  readonly sensitive?: true
  /** Refused with `no` before it. */
  readonly negatable?: false
  /** Refused without a value. */
  readonly valued?: true
  readonly to?: ConfigKey
  readonly read?: Read
}

const bool: Read = (settings, name) => settings.bool(name)
const int: Read = (settings, name) => settings.int(name)
const atLeastOne: Read = (settings, name) => {
  const value = settings.int(name)
  return value === undefined ? undefined : Math.max(1, value)
}
/** No more than a number holds exactly, which is longer than anybody waits. */
const seconds: Read = (settings, name) => {
  const value = settings.int(name)
  return value === undefined ? undefined : Math.min(value, Number.MAX_SAFE_INTEGER)
}
const text: Read = (settings, name) => settings.text(name)
const filled: Read = (settings, name) => {
  const value = settings.text(name)
  return value === '' ? undefined : value
}
/** A user without a password is none: only the cookie counts then. */
const userOfPassword: Read = (settings) =>
  (settings.text('rpcpassword') ?? '') === '' ? undefined : (settings.text('rpcuser') ?? '')
/** Each time that it is given; none leaves the default. */
const list: Read = (settings, name) => {
  const values = settings.list(name)
  return values.length === 0 ? undefined : values
}

/** Less is taken as this much. */
const atLeast =
  (least: number): Read =>
  (settings, name) => {
    const value = settings.int(name)
    return value === undefined ? undefined : Math.max(least, value)
  }

const prune: Read = (settings, name) => {
  const value = settings.int(name)
  if (value === undefined || value === 0) return value
  if (value < 0) throw new InitError('Prune cannot be configured with a negative value.')
  if (settings.bool('txindex') === true) throw new InitError('Prune mode is incompatible with -txindex.')
  if (settings.bool('reindex-chainstate') === true)
    throw new InitError('Prune mode is incompatible with -reindex-chainstate. Use full -reindex instead.')
  if (value > 1 && value < 550 && settings.bool('fastprune') !== true)
    throw new InitError('Prune configured below the minimum of 550 MiB.  Please use a higher number.')
  return value
}

/** Of no use without the index that they come from. */
const peerFilters: Read = (settings, name) => {
  const wanted = settings.bool(name)
  if (wanted === true && !settings.list('blockfilterindex').some((type) => type !== '0'))
    throw new InitError('Cannot set -peerblockfilters without -blockfilterindex.')
  return wanted
}
/** A negative number means none. */
const connections: Read = (settings, name) => {
  const count = settings.int(name)
  return count === undefined ? undefined : Math.max(0, count)
}
/** Bytes with a unit: lower case by thousands, upper case by 1024; MiB without one. */
const byteUnits: Read = (settings, name) => {
  const match = /^(\d+)([kKmMgGtT]?)$/.exec(settings.text(name) ?? '')
  if (match === null) return settings.text(name)
  const unit = match[2] === '' ? 'M' : (match[2] as string)
  const power = 'kmgt'.indexOf(unit.toLowerCase()) + 1
  return Number(match[1]) * (unit === unit.toLowerCase() ? 1000 : 1024) ** power
}

/** bitcoind looks at them only if the last is not empty. */
const usersIfAny: Read = (settings, name) => (settings.text(name) === '' ? undefined : list(settings, name))

/** Known, without effect. */
const idle = (hint?: string): Option => (hint === undefined ? {} : { hint })

export const OPTIONS: Readonly<Record<string, Option>> = {
  '?': { about: 'print this and exit' },
  h: {},
  help: {},
  'help-debug': {},
  version: { about: 'print the version and exit' },

  // Where things are
  datadir: { hint: '<dir>', about: 'directory of the data' },
  conf: { hint: '<file>', about: 'file of settings (default: bitcoin.conf in the data directory)' },
  includeconf: { hint: '<file>', about: 'a further file of settings; only in the file' },
  allowignoredconf: { about: 'a bitcoin.conf that is not read is not an error' },
  settings: { hint: '<file>', about: 'file of settings that programs write (default: settings.json)' },
  pid: { hint: '<file>', about: 'file of the process id (default: bitcoind.pid)' },
  blocksdir: {
    hint: '<dir>',
    about: 'where the directory with block files is (default: the data directory)',
    to: 'blocksDir',
    read(settings) {
      const path = settings.text('blocksdir')
      if (path === undefined) return undefined
      if (!existsSync(path)) throw new InitError(`Specified blocks directory "${path}" does not exist.`)
      return join(path, settings.chain === 'main' ? '' : settings.chain, 'blocks')
    },
  },

  // The chain
  chain: { hint: '<chain>', about: 'main, testnet4, signet or regtest (default: main)' },
  regtest: { about: 'the same as -chain=regtest' },
  signet: { about: 'the same as -chain=signet' },
  testnet: { about: 'testnet3, which is not supported' },
  testnet4: { about: 'the same as -chain=testnet4' },
  signetchallenge: {
    hint: '<hex>',
    about: 'the script that signs the blocks of a signet',
    negatable: false,
    networkOnly: true,
    to: 'signetChallenge',
    read: text,
  },
  signetseednode: { hint: '<host>', negatable: false },
  testactivationheight: {
    hint: '<name@height>',
    about: 'from which height a rule holds, on regtest: bip34, dersig, cltv, csv, segwit',
    to: 'activationHeights',
    read: list,
  },
  vbparams: idle('<deployment:start:end[:height]>'),
  assumevalid: {
    hint: '<hash>',
    about: 'scripts at and below this block need not run; 0: they all do (default: a block of the network)',
    to: 'assumeValid',
    read: text,
  },
  minimumchainwork: {
    hint: '<hex>',
    about: 'work that a chain must have before its blocks are fetched',
    to: 'minimumChainWork',
    read: (settings, name) => {
      const value = settings.text(name)
      if (value !== undefined && !/^(0x)?[0-9a-fA-F]{1,64}$/.test(value))
        throw new InitError(`Invalid non-hex (${value}) minimum chain work value specified`)
      return value
    },
  },
  maxtipage: { hint: '<seconds>', about: 'with an older tip the ledger is still catching up', to: 'maxTipAge', read: seconds },
  mocktime: { hint: '<seconds>', about: 'the clock stands still at this time, seconds since 1970', to: 'mockTime', read: int },
  stopatheight: { hint: '<height>', about: 'stop when the chain has this height', to: 'stopAtHeight', read: int },
  stopafterblockimport: idle(),

  // Storage
  blocksxor: idle(),
  checkblockindex: idle('<n>'),
  checkblocks: idle('<n>'),
  checklevel: idle('<n>'),
  coinstatsindex: {
    about: 'an index of figures about all coins after each block (default: 0)',
    to: 'coinStatsIndex',
    read: bool,
  },
  blockfilterindex: {
    hint: '<type>',
    about: 'an index of block filters: basic or 1 (default: 0)',
    to: 'blockFilterIndex',
    read: (settings, name) => {
      const types = settings.list(name).filter((type) => type !== '0')
      const unknown = types.find((type) => !['', '1', 'basic'].includes(type))
      if (unknown !== undefined) throw new InitError(`Unknown -blockfilterindex value ${unknown}.`)
      return types.length > 0
    },
  },
  dbbatchsize: idle('<bytes>'),
  dbcache: { hint: '<MiB>', about: 'memory for the cache of coins (default: 256)', to: 'dbCacheMib', read: atLeast(4) },
  fastprune: { about: 'block files of 64 KiB, and shorter chains are pruned: for tests', to: 'fastPrune', read: bool },
  loadblock: {
    hint: '<file>',
    about: 'a file with blocks to take first; may be given several times',
    to: 'loadBlock',
    read: list,
  },
  maxsigcachesize: {
    hint: '<MiB>',
    about: 'memory for known signatures and scripts (default: 32)',
    to: 'scriptCacheMib',
    read: atLeast(1),
  },
  par: {
    hint: '<n>',
    about: 'threads that run scripts; 0: all cores, below 0: all but so many (default: 0)',
    to: 'scriptThreads',
    read: int,
  },
  prune: {
    hint: '<MiB>',
    about: 'delete old blocks: 1 when told to, from 550 on a size (default: 0)',
    to: 'pruneMib',
    read: prune,
  },
  reindex: { about: 'build everything again from the block files', to: 'reindex', read: bool },
  'reindex-chainstate': { about: 'build coins and indices again from the blocks', to: 'reindexChainstate', read: bool },
  txindex: {
    about: 'keep an index of transactions (default: 0)',
    to: 'txIndex',
    read: (settings, name) => settings.bool(name) ?? false,
  },

  // Peers
  addnode: { hint: '<host[:port]>', about: 'a peer to stay connected to; may be given several times', networkOnly: true },
  connect: { hint: '<host[:port]>', about: 'stay connected to these peers only; -noconnect: to none', networkOnly: true },
  bind: { hint: '<address[:port]>', about: 'address for peers', networkOnly: true },
  port: { hint: '<port>', about: 'port for peers', networkOnly: true, to: 'p2pPort', read: int },
  listen: { about: 'whether peers may connect to us', to: 'listen', read: bool },
  uacomment: { hint: '<words>', about: 'a comment in the user agent', to: 'uaComment', read: list },
  asmap: idle('<file>'),
  bantime: { hint: '<seconds>', about: 'how long a ban lasts (default: 86400)', to: 'banTime', read: int },
  blockreconstructionextratxn: idle('<n>'),
  blocksonly: { about: 'take and relay no transactions of peers', to: 'blocksOnly', read: bool },
  capturemessages: { about: 'write the messages of peers into message_capture', to: 'captureMessages', read: bool },
  checkaddrman: idle('<n>'),
  cjdnsreachable: { about: 'addresses of fc00::/8 are of the CJDNS network', to: 'cjdnsReachable', read: bool },
  discover: idle(),
  dns: idle(),
  dnsseed: { about: 'ask DNS seeds for peers (default: 1)', to: 'dnsSeed', read: bool },
  externalip: idle('<ip>'),
  fixedseeds: idle(),
  forcednsseed: idle(),
  i2pacceptincoming: idle(),
  i2psam: idle('<ip:port>'),
  listenonion: idle(),
  maxconnections: { hint: '<n>', about: 'connections to hold at most (default: 125)', to: 'maxConnections', read: connections },
  maxreceivebuffer: { hint: '<kB>', about: 'what waits of a peer at most (default: 5000)', to: 'maxReceiveBuffer', read: int },
  maxsendbuffer: { hint: '<kB>', about: 'what waits for a peer at most (default: 1000)', to: 'maxSendBuffer', read: int },
  maxuploadtarget: {
    hint: '<MiB>',
    about: 'upload of a day at most, with a unit k, K, m, M, g, G, t, T (default: 0M, no limit)',
    to: 'maxUploadTarget',
    read: byteUnits,
  },
  natpmp: idle(),
  networkactive: { about: 'whether the network is on (default: 1)', to: 'networkActive', read: bool },
  onion: idle('<ip:port>'),
  onlynet: idle('<net>'),
  peerblockfilters: {
    about: 'give block filters to light clients; needs -blockfilterindex',
    to: 'peerBlockFilters',
    read: peerFilters,
  },
  peerbloomfilters: idle(),
  peertimeout: {
    hint: '<seconds>',
    about: 'after which a peer is closed that does not speak (default: 60)',
    to: 'peerTimeout',
    read: int,
  },
  proxy: { hint: '<ip:port>', valued: true },
  proxyrandomize: idle(),
  seednode: idle('<ip>'),
  timeout: { hint: '<ms>', about: 'for a connection to come about (default: 5000)', to: 'dialTimeout', read: int },
  torcontrol: idle('<ip:port>'),
  torpassword: { hint: '<password>', sensitive: true },
  txreconciliation: idle(),
  upnp: idle(),
  v2transport: idle(),
  whitebind: {
    hint: '<permissions@address>',
    about: 'address for peers, with what those may do who come there',
    networkOnly: true,
  },
  whitelist: { hint: '<permissions@address>', about: 'what peers may do by their address', to: 'whitelist', read: list },
  whitelistforcerelay: { to: 'whitelistForceRelay', read: bool },
  whitelistrelay: { to: 'whitelistRelay', read: bool },

  // Mempool, relay, mining
  ...MEMPOOL_OPTIONS,
  maxorphantx: { hint: '<n>', about: 'transactions kept whose parents are not here (default: 100)', to: 'maxOrphans', read: int },

  // RPC
  server: idle(),
  rest: { about: 'serve REST requests, without a password', to: 'rest', read: bool },
  rpcallowip: { hint: '<ip[/mask]>', about: 'who may call besides this machine', to: 'rpcAllowIp', read: list },
  rpcauth: { hint: '<user:salt$hash>', about: 'a user with a hashed password', sensitive: true, to: 'rpcAuth', read: usersIfAny },
  rpcbind: { hint: '<address[:port]>', about: 'address for RPC; only with -rpcallowip', networkOnly: true },
  rpccookiefile: { hint: '<file>', about: 'where the cookie is (default: .cookie)', to: 'rpcCookieFile', read: text },
  rpccookieperms: { hint: '<who>', about: 'who may read the cookie: owner, group or all', to: 'rpcCookiePerms', read: text },
  rpcdoccheck: idle(),
  rpcpassword: { hint: '<password>', about: 'password for RPC', sensitive: true, to: 'rpcPassword', read: filled },
  rpcport: { hint: '<port>', about: 'port for RPC', networkOnly: true, to: 'rpcPort', read: int },
  rpcservertimeout: {
    hint: '<seconds>',
    about: 'a silent connection is closed after that (default: 30)',
    to: 'rpcServerTimeout',
    read: atLeastOne,
  },
  rpcthreads: { hint: '<n>', about: 'calls that run at once (default: 16)', to: 'rpcThreads', read: atLeastOne },
  rpcuser: { hint: '<user>', about: 'user for RPC', sensitive: true, to: 'rpcUser', read: userOfPassword },
  rpcwhitelist: { hint: '<user:calls>', about: 'what a user may call', to: 'rpcWhitelist', read: list },
  rpcwhitelistdefault: { about: 'whether users without a whitelist may call nothing', to: 'rpcWhitelistDefault', read: bool },
  rpcworkqueue: { hint: '<n>', about: 'calls that may wait (default: 64)', to: 'rpcWorkQueue', read: atLeastOne },
  deprecatedrpc: idle('<call>'),

  // Notifications
  alertnotify: idle('<command>'),
  blocknotify: { hint: '<command>', about: 'run for each new block; %s is its hash', to: 'blockNotify', read: filled },
  shutdownnotify: { hint: '<command>', about: 'run at the end', to: 'shutdownNotify', read: filled },
  startupnotify: { hint: '<command>', about: 'run at the start', to: 'startupNotify', read: filled },
  zmqpubhashblock: { hint: '<address>', about: 'publish hashes of new blocks over ZeroMQ' },
  zmqpubhashblockhwm: idle('<n>'),
  zmqpubhashtx: { hint: '<address>', about: 'publish ids of transactions over ZeroMQ' },
  zmqpubhashtxhwm: idle('<n>'),
  zmqpubrawblock: { hint: '<address>', about: 'publish new blocks over ZeroMQ' },
  zmqpubrawblockhwm: idle('<n>'),
  zmqpubrawtx: { hint: '<address>', about: 'publish transactions over ZeroMQ' },
  zmqpubrawtxhwm: idle('<n>'),
  zmqpubsequence: { hint: '<address>', about: 'publish what happens to blocks and the mempool, in order over ZeroMQ' },
  zmqpubsequencehwm: idle('<n>'),

  // The log and the process
  daemon: idle(),
  daemonwait: idle(),
  debug: { hint: '<category>', about: 'write more into debug.log' },
  debugexclude: idle('<category>'),
  debuglogfile: { hint: '<file>', about: 'file of the log (default: debug.log)' },
  logips: idle(),
  loglevel: { hint: '<level>', negatable: false, valued: true },
  loglevelalways: idle(),
  logsourcelocations: idle(),
  logthreadnames: idle(),
  logtimemicros: idle(),
  logtimestamps: idle(),
  printtoconsole: { about: 'write the log on the console as well' },
  shrinkdebugfile: idle(),
  test: { hint: '<option>', to: 'testOptions', read: list },

  // The wallet, which is not here: its options are taken so that a file with them still starts
  addresstype: {},
  avoidpartialspends: {},
  changetype: {},
  consolidatefeerate: {},
  disablewallet: {},
  discardfee: {},
  fallbackfee: {},
  keypool: {},
  maxapsfee: {},
  maxtxfee: {},
  mintxfee: {},
  paytxfee: {},
  signer: {},
  spendzeroconfchange: {},
  txconfirmtarget: {},
  unsafesqlitesync: {},
  wallet: {},
  walletbroadcast: {},
  walletcrosschain: {},
  walletdir: {},
  walletnotify: {},
  walletrbf: {},
  walletrejectlongchains: {},
  dblogsize: {},
  flushwallet: {},
  privdb: {},
  swapbdbendian: {},

  // Ours
  linkport: { hint: '<port>', about: 'port of the link for channel services (default: none)', to: 'linkPort', read: int },
}

const withPort = (address: string, port: number): string =>
  /^\[[^\]]+\]:\d+$|^[^:]+:\d+$/.test(address)
    ? address
    : `${address.includes(':') && !address.startsWith('[') ? `[${address}]` : address}:${port}`

const connectTo = (settings: Settings, port: number): readonly string[] =>
  settings
    .list('connect')
    .filter((address) => address !== '0')
    .map((address) => withPort(address, port))

/** `address[:port][=onion]`, several of them; or `permissions@address:port`. */
const bindOf = (settings: Settings): { readonly p2pBind?: string[]; readonly bindPermissions?: string } => {
  const [white] = settings.list('whitebind')
  const given = settings.list('bind').map((address) => address.replace(/=onion$/, ''))
  if (settings.bool('listen') === false && (given.length > 0 || white !== undefined))
    throw new InitError('Cannot set -bind or -whitebind together with -listen=0')
  if (white === undefined) return given.length === 0 ? {} : { p2pBind: given }
  const at = white.indexOf('@')
  const address = white.slice(at + 1)
  if (!/^(?:\[[^\]]+\]|[^:/]+)(?::\d+)?$/.test(address)) throw new InitError(`Cannot resolve -whitebind address: '${address}'`)
  if (!/:\d+$/.test(address)) throw new InitError(`Need to specify a port with -whitebind: '${address}'`)
  return { p2pBind: [address, ...given], bindPermissions: at < 0 ? 'noban,mempool,relay' : white.slice(0, at) }
}

/** Without both options only this machine may connect: bitcoind too ignores either one alone. */
const rpcAddresses = (settings: Settings): readonly string[] => {
  const given = settings.list('rpcbind')
  return given.length > 0 && settings.list('rpcallowip').length > 0 ? given : ['127.0.0.1', '::1']
}

const ZMQ_TOPICS = ['hashblock', 'hashtx', 'rawblock', 'rawtx', 'sequence'] as const

const published = (settings: Settings) =>
  ZMQ_TOPICS.flatMap((topic) =>
    settings.list(`zmqpub${topic}`).map((address) => ({
      topic,
      address: address.replace(/^unix:/, 'ipc://'),
      hwm: Math.max(0, settings.int(`zmqpub${topic}hwm`) ?? 1000),
    })),
  )

/** Our configuration from bitcoind's settings. `defaultPort`: the network's port for peers. */
export const configOf = (settings: Settings, defaultPort: number): Partial<LedgerConfigInput> => {
  const config: Record<string, unknown> = {}
  for (const [name, { to, read }] of Object.entries(OPTIONS)) {
    const value = to === undefined ? undefined : read?.(settings, name)
    if (to !== undefined && value !== undefined) config[to] = value
  }
  const problem = mempoolSettingsProblem(config, settings.chain === 'main' ? 'mainnet' : settings.chain)
  if (problem !== undefined) throw new InitError(problem)
  const listens =
    config['listen'] ??
    (settings.list('bind').length + settings.list('whitebind').length > 0 || settings.text('connect') === undefined)
  return {
    store: 'chainstate',
    mempoolFile: 'mempool.dat',
    p2pBind: ['0.0.0.0'],
    ...config,
    ...bindOf(settings),
    rpcBind: [...rpcAddresses(settings)],
    zmq: published(settings),
    listen: listens === true,
    link: config['linkPort'] !== undefined,
    connect: [...connectTo(settings, defaultPort)],
    addNode: [...settings.list('addnode')],
    findPeers: settings.text('connect') === undefined,
  }
}
