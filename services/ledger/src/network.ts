/** Which network the configuration names: a public one, a signet with a challenge of its own, or one from a file. */
import { readFileSync } from 'node:fs'
import { hexToBytes } from '@leyden/codec'
import { customSignet, decodeWif, networks, type Network } from '@leyden/bitcoin'
import { networkFromText } from '@leyden/bitcoin/network-file'
import { ConfigError, type LedgerConfig } from './config.ts'

/** Reads a network file. Throws {@link ConfigError} that names the file, and each field that is wrong. */
export const readNetworkFile = (path: string): Network => {
  let text: string
  try {
    text = readFileSync(path, 'utf8')
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException
    const why = code === 'ENOENT' ? 'is not there: make one with leyden-ledger new-network' : `cannot be read: ${message}`
    throw new ConfigError(`networkFile: ${path} ${why}`)
  }
  const network = networkFromText(text)
  if ('name' in network) return network
  throw new ConfigError(network.map((line) => `${path}: ${line}`).join('\n'))
}

type Chosen = Pick<LedgerConfig, 'network' | 'networkFile' | 'signetChallenge'>

/** The network in force. Throws {@link ConfigError}. */
export const networkOf = ({ network, networkFile, signetChallenge }: Chosen): Network => {
  if (networkFile !== undefined) return readNetworkFile(networkFile)
  return signetChallenge === undefined ? networks[network] : customSignet(hexToBytes(signetChallenge.toLowerCase()))
}

/** The secrets of signingKeys. Throws {@link ConfigError}, which never repeats a key. */
export const signersOf = ({ signingKeys }: Pick<LedgerConfig, 'signingKeys'>, network: Network): readonly Uint8Array[] => {
  if (signingKeys.length > 0 && network.signetChallenge === undefined)
    throw new ConfigError(`signingKeys: the blocks of ${network.name} are not signed: leave it out`)
  return signingKeys.map((text, i) => {
    const key = decodeWif(text, network)
    if ('problem' in key) throw new ConfigError(`signingKeys: key ${i + 1} is ${key.detail} (WIF, prefix ${network.wifPrefix})`)
    return key.secret
  })
}
