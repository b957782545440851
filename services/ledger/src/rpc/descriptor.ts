/** Descriptors as calls take and give them: a text, or a text with a range. Bitcoin Core rpc/util.cpp, EvalDescriptorStringOrObject. */
import {
  descriptorText,
  DescriptorError,
  emptyKnowledge,
  expandDescriptor,
  inferDescriptor,
  isRanged,
  parseDescriptor,
  withChecksum,
  type Descriptor,
  type Knowledge,
  type Network,
} from '@leyden/bitcoin'
import { kindOf, RPC, RpcError } from './call.ts'

const invalid = (message: string): RpcError => new RpcError(RPC.invalidParameter, message)

const NOTHING = emptyKnowledge()

/** What the script says by itself, without its checksum. */
export const describeScript = (script: Uint8Array, network: Network, knowledge: Knowledge = NOTHING): string =>
  inferDescriptor(script, network, knowledge)

export const outputDescriptor = (script: Uint8Array, network: Network, knowledge: Knowledge = NOTHING): string =>
  withChecksum(describeScript(script, network, knowledge))

/** Throws RpcError in bitcoind's words. */
export const readDescriptor = (
  text: string,
  network: Network,
  checksumRequired = false,
): { readonly descriptor: Descriptor; readonly checksum: string; readonly text: string } => {
  try {
    const { descriptor, checksum } = parseDescriptor(text, network, checksumRequired)
    return { descriptor, checksum, text: withChecksum(descriptorText(descriptor, network)) }
  } catch (error) {
    if (error instanceof DescriptorError) throw new RpcError(RPC.invalidAddressOrKey, error.message)
    throw error
  }
}

export type Range = { readonly first: number; readonly last: number }

/** Most positions of one range. */
const MAX_RANGE = 1_000_000

const integerOf = (value: unknown): number => {
  if (typeof value !== 'number')
    throw new RpcError(RPC.type, `JSON value of type ${kindOf(value)} is not of expected type number`)
  if (!Number.isSafeInteger(value)) throw new RpcError(RPC.misc, 'JSON integer out of range')
  return value
}

/** `last` or `[first, last]`. */
export const readRange = (value: unknown): Range => {
  const isPair = Array.isArray(value) && value.length === 2
  if (typeof value !== 'number' && !isPair) throw invalid('Range must be specified as end or as [begin,end]')
  const [first, last] = isPair ? value.map(integerOf) : [0, integerOf(value)]
  const [low, high] = [first as number, last as number]
  if (isPair && low > high) throw invalid('Range specified as [begin,end] must not have begin after end')
  if (low < 0) throw invalid('Range should be greater or equal than 0')
  if (high < 0 || high >= 0x8000_0000) throw invalid('End of range is too high')
  if (high >= low + MAX_RANGE) throw invalid('Range is too large')
  return { first: low, last: high }
}

/** As many positions as bitcoind looks at when nobody says. */
const USUAL_RANGE: Range = { first: 0, last: 1000 }

/** Scripts of a scan object, `text` or `{desc, range}`; what is known of them is added to `knowledge`. */
export const scriptsOf = (item: unknown, network: Network, knowledge: Knowledge): readonly Uint8Array[] => {
  const isObject = kindOf(item) === 'object'
  if (!isObject && typeof item !== 'string') throw invalid('Scan object needs to be either a string or an object')
  const { desc, range } = (isObject ? item : { desc: item }) as { desc?: unknown; range?: unknown }
  if (desc === undefined || desc === null) throw invalid('Descriptor needs to be provided in scan object')
  if (typeof desc !== 'string') throw new RpcError(RPC.type, `JSON value of type ${kindOf(desc)} is not of expected type string`)
  const given = range === undefined || range === null ? undefined : readRange(range)
  const { descriptor } = readDescriptor(desc, network)
  const { first, last } = isRanged(descriptor) ? (given ?? USUAL_RANGE) : { first: 0, last: 0 }
  const scripts: Uint8Array[] = []
  for (let position = first; position <= last; position++) {
    const made = expandDescriptor(descriptor, position, knowledge)
    if (made === undefined) throw new RpcError(RPC.invalidAddressOrKey, `Cannot derive script without private keys: '${desc}'`)
    scripts.push(...made)
  }
  return scripts
}

/** The one script that a miner is paid by: of a combo the best of its scripts. Bitcoin Core rpc/mining.cpp, getScriptFromDescriptor. */
export const scriptOfDescriptor = (text: string, network: Network): Uint8Array => {
  const { descriptor } = readDescriptor(text, network)
  if (isRanged(descriptor)) throw invalid('Ranged descriptor not accepted. Maybe pass through deriveaddresses first?')
  const scripts = expandDescriptor(descriptor, 0, emptyKnowledge())
  if (scripts === undefined) throw new RpcError(RPC.invalidAddressOrKey, 'Cannot derive script without private keys')
  return (scripts.length === 4 ? scripts[2] : (scripts[1] ?? scripts[0])) as Uint8Array
}
