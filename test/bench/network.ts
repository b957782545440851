/**
 * A public network of the size of mainnet, as rows of the gossip store: for measuring, its signatures are zeros.
 * LEYDEN_GRAPH names a file of channels (CSV, gzip or not: two node numbers, the capacity, and of each direction enabled, limits, fees and
 * cltv_expiry_delta); without it the network is drawn from a seed, with as many nodes and channels and fees of the same kind.
 */
import { existsSync, readFileSync } from 'node:fs'
import { basename } from 'node:path'
import { gunzipSync } from 'node:zlib'
import { Msat, Sat, Txid } from '@leyden/bitcoin'
import { bytesToHex, encode, packRecord } from '@leyden/codec'
import {
  channelAnnouncement,
  channelUpdate,
  nodeAnnouncement,
  NodeId,
  nodeIdToPoint,
  scid,
  type ShortChannelId,
} from '@leyden/lnwire'
import { seededRandom, type SeededRandom } from '@leyden/runtime'

const NODES = 17_324
const CHANNELS = 50_808

/** What the end of a channel asks for. */
export interface Terms {
  readonly enabled: boolean
  readonly htlcMinimumMsat: Msat
  readonly htlcMaximumMsat: Msat
  readonly feeBaseMsat: number
  readonly feeProportionalMillionths: number
  readonly cltvExpiryDelta: number
}

export interface NetworkChannel {
  readonly shortChannelId: ShortChannelId
  readonly node1: NodeId
  readonly node2: NodeId
  readonly capacitySat: Sat
  /** From node 1 to node 2, and back. */
  readonly terms: readonly [Terms, Terms]
}

export interface Network {
  /** Where it is from, in words. */
  readonly source: string
  readonly nodes: readonly NodeId[]
  readonly channels: readonly NetworkChannel[]
}

/** One channel by the numbers of its nodes. */
interface Drawn {
  readonly ends: readonly [number, number]
  readonly capacitySat: bigint
  readonly terms: readonly [Terms, Terms]
}

const parse = (text: string): readonly Drawn[] => {
  const [head = '', ...lines] = text.trim().split('\n')
  const columns = head.trim().split(',')
  return lines.map((line) => {
    const cells = line.trim().split(',')
    const cell = (name: string): string => {
      const value = cells[columns.indexOf(name)]
      if (value === undefined) throw new Error(`the graph has no column ${name}`)
      return value
    }
    const termsOf = (direction: 0 | 1): Terms => ({
      enabled: cell(`enabled_${direction}`) === '1',
      htlcMinimumMsat: Msat(BigInt(cell(`htlc_minimum_msat_${direction}`))),
      htlcMaximumMsat: Msat(BigInt(cell(`htlc_maximum_msat_${direction}`))),
      feeBaseMsat: Number(cell(`fee_base_msat_${direction}`)),
      feeProportionalMillionths: Number(cell(`fee_proportional_millionths_${direction}`)),
      cltvExpiryDelta: Number(cell(`cltv_expiry_delta_${direction}`)),
    })
    return {
      ends: [Number(cell('node1')), Number(cell('node2'))],
      capacitySat: BigInt(cell('capacity_sat')),
      terms: [termsOf(0), termsOf(1)],
    }
  })
}

/** New channels go to nodes that have some already, as on mainnet: a few nodes have a thousand, most have one or two. */
const draw = (random: SeededRandom): readonly Drawn[] => {
  const ends: number[] = [0]
  const termsOf = (capacitySat: bigint): Terms => ({
    enabled: random.chance(0.65),
    htlcMinimumMsat: Msat(random.pick([0n, 1n, 1000n, 1000n, 1000n, 10_000n, 1_000_000n])),
    htlcMaximumMsat: Msat(capacitySat * random.pick([990n, 990n, 500n, 450n, 100n])),
    feeBaseMsat: random.pick([0, 0, 0, 1, 100, 1000, 1000, 1000, 5000]),
    feeProportionalMillionths: random.pick([0, 1, 1, 10, 50, 100, 250, 500, 1000, 2500]),
    cltvExpiryDelta: random.pick([34, 40, 40, 80, 80, 144]),
  })
  return Array.from({ length: CHANNELS }, (_, i): Drawn => {
    const fresh = i + 1 < NODES
    const one = fresh ? i + 1 : random.pick(ends)
    let two = one
    while (two === one) two = random.chance(0.8) ? random.pick(ends) : random.below(Math.min(i + 1, NODES))
    ends.push(one, two)
    const capacitySat = BigInt(20_000 * 2 ** random.below(10) + random.below(20_000))
    return { ends: [one, two], capacitySat, terms: [termsOf(capacitySat), termsOf(capacitySat)] }
  })
}

const nodeIdOf = (random: SeededRandom): NodeId => NodeId(`02${bytesToHex(random.bytes(32))}`)

export const networkOf = (seed: number): Network => {
  const random = seededRandom(seed)
  const path = process.env['LEYDEN_GRAPH'] ?? ''
  const given = path !== '' && existsSync(path) ? readFileSync(path) : undefined
  const drawn =
    given === undefined ? draw(random.fork('channels')) : parse((given[0] === 0x1f ? gunzipSync(given) : given).toString())
  const ids = random.fork('nodes')
  const nodes = Array.from({ length: 1 + Math.max(...drawn.map(({ ends }) => Math.max(...ends))) }, () => nodeIdOf(ids))
  const channels = drawn.map(({ ends: [one, two], capacitySat, terms }, i): NetworkChannel => {
    const [a, b] = [nodes[one] as NodeId, nodes[two] as NodeId]
    const common = { shortChannelId: scid(600_000 + (i >> 2), 7 * (i % 400) + 1, i % 3), capacitySat: Sat(capacitySat) }
    return a < b ? { ...common, node1: a, node2: b, terms } : { ...common, node1: b, node2: a, terms: [terms[1], terms[0]] }
  })
  return { source: given === undefined ? `drawn from seed ${seed}` : basename(path), nodes, channels }
}

const NO_SIGNATURE = new Uint8Array(64)
export const NOW = 1_770_000_000
const CHAIN = new Uint8Array(32)
const COMMON = {
  nodeSignature1: NO_SIGNATURE,
  nodeSignature2: NO_SIGNATURE,
  bitcoinSignature1: NO_SIGNATURE,
  bitcoinSignature2: NO_SIGNATURE,
}

/** The update of one direction. */
export const updateOf = (channel: NetworkChannel, direction: 0 | 1, timestamp: number) => {
  const { enabled, ...terms } = channel.terms[direction]
  const message = {
    type: 'channel_update' as const,
    signature: NO_SIGNATURE,
    chainHash: CHAIN,
    shortChannelId: channel.shortChannelId,
    timestamp,
    messageFlags: 1,
    channelFlags: direction | (enabled ? 0 : 2),
    ...terms,
  }
  return { message, raw: encode(channelUpdate, message) }
}

export const announcementOf = ({ shortChannelId, node1, node2 }: NetworkChannel) => {
  const message = {
    type: 'channel_announcement' as const,
    ...COMMON,
    features: new Uint8Array(0),
    chainHash: CHAIN,
    shortChannelId,
    nodeId1: node1,
    nodeId2: node2,
    bitcoinKey1: nodeIdToPoint(node1),
    bitcoinKey2: nodeIdToPoint(node2),
  }
  return { message, raw: encode(channelAnnouncement, message) }
}

/** What the store holds of the network: `suffix` and value of each row, by suffix, as a store would give them. */
export const rowsOf = ({ nodes, channels }: Network): readonly (readonly [suffix: string, value: Uint8Array])[] => {
  const rows: [string, Uint8Array][] = []
  for (const [i, channel] of channels.entries()) {
    const id = channel.shortChannelId.toString(16).padStart(16, '0')
    const outpoint = { txid: Txid((i + 1).toString(16).padStart(64, '0')), vout: 0 }
    const { raw } = announcementOf(channel)
    rows.push([`c/${id}`, packRecord({ raw, capacitySat: channel.capacitySat, outpoint, spentAt: undefined, heardAt: NOW })])
    rows.push([`u/${id}/0`, updateOf(channel, 0, NOW).raw], [`u/${id}/1`, updateOf(channel, 1, NOW).raw])
  }
  for (const [i, nodeId] of nodes.entries())
    rows.push([
      `n/${nodeId}`,
      encode(nodeAnnouncement, {
        type: 'node_announcement',
        signature: NO_SIGNATURE,
        features: new Uint8Array(7),
        timestamp: NOW,
        nodeId,
        rgbColor: new Uint8Array(3),
        alias: new Uint8Array(32).fill(65),
        addresses: [{ type: 'ipv4', host: `10.${(i >> 16) & 255}.${(i >> 8) & 255}.${i & 255}`, port: 9735 }],
      }),
    ])
  return rows.toSorted(([a], [b]) => (a < b ? -1 : 1))
}
