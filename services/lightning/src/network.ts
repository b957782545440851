/** Which network the configuration names: a public one, or the ledger's network file. */
import { readFileSync } from 'node:fs'
import { networks, type Network } from '@leyden/bitcoin'
import { networkFromText } from '@leyden/bitcoin/network-file'
import { type Config, ConfigError } from './config.ts'

/** The network in force. Throws {@link ConfigError} that names the file and each field that is wrong. */
export const networkOf = ({ network, networkFile }: Pick<Config, 'network' | 'networkFile'>): Network => {
  if (networkFile === undefined) return networks[network]
  if (network !== 'regtest') throw new ConfigError('networkFile: a network file is a network of its own: leave out network')
  let text: string
  try {
    text = readFileSync(networkFile, 'utf8')
  } catch (error) {
    throw new ConfigError(`networkFile: ${(error as Error).message}: give the path of the file that the ledger was started with`)
  }
  const own = networkFromText(text)
  if ('name' in own) return own
  throw new ConfigError(own.map((line) => `${networkFile}: ${line}`).join('\n'))
}
