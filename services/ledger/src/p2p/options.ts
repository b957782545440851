/** What of the configuration is about peers. */
import type { Network } from '@leyden/bitcoin'
import { ConfigError, type LedgerConfig } from '../config.ts'
import { hostAndPort } from '../listen.ts'
import { parseGrant, parseWhitelisted, PermissionError, type Grants } from './permissions.ts'
import type { PeerServiceOptions } from './service.ts'

const grantsOf = (config: LedgerConfig): Grants => {
  try {
    return {
      whitelist: config.whitelist.map(parseWhitelisted),
      inbound: config.bindPermissions === '' ? new Set() : parseGrant(`${config.bindPermissions}@`).permissions,
      relay: config.whitelistRelay ?? !config.blocksOnly,
      forceRelay: config.whitelistForceRelay,
    }
  } catch (error) {
    if (error instanceof PermissionError) throw new ConfigError(error.message)
    throw error
  }
}

/** Work below which a chain is not worth fetching. */
export const minimumWorkOf = ({ minimumChainWork }: LedgerConfig, network: Network): bigint =>
  minimumChainWork === undefined ? (network.minimumChainWork ?? 0n) : BigInt(`0x${minimumChainWork.replace(/^0x/, '')}`)

type Chosen = Omit<PeerServiceOptions, 'engine' | 'clock' | 'random' | 'datadir' | 'log' | 'userAgent' | 'minimumWork'>

/** Throws ConfigError on permissions that are none. */
export const peerOptionsOf = (config: LedgerConfig, network: Network): Chosen => {
  const findsPeers = config.findPeers && config.connect.length === 0 && network.name !== 'regtest'
  return {
    addresses: config.p2pBind.map((address) => hostAndPort(address, config.p2pPort ?? network.port)),
    listen: config.listen,
    maxConnections: config.maxConnections,
    maxUploadBytes: config.maxUploadTarget,
    peerTimeout: config.peerTimeout,
    dialTimeoutMs: config.dialTimeout,
    maxOrphans: config.maxOrphans,
    blocksOnly: config.blocksOnly,
    maxTipAge: config.maxTipAge,
    grants: grantsOf(config),
    buffers: { receiveBytes: config.maxReceiveBuffer * 1000, sendBytes: config.maxSendBuffer * 1000 },
    usesAddressBook: findsPeers,
    // The seeds know the nodes of the public networks only.
    usesSeeds: findsPeers && config.dnsSeed && config.signetChallenge === undefined && config.networkFile === undefined,
    isNetworkActive: config.networkActive,
    capturesMessages: config.captureMessages,
    deterministicBook: config.testOptions.includes('addrman'),
    cjdns: config.cjdnsReachable,
    banSeconds: config.banTime,
    servesFilters: config.peerBlockFilters,
  }
}
