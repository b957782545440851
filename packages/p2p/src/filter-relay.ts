/**
 * Compact block filters for light clients: getcfilters, getcfheaders, getcfcheckpt. BIP 157; Bitcoin Core net_processing.cpp.
 * Only the basic filter, and only where its index is kept. Who asks for what cannot be is closed, as BIP 157 allows.
 */
import type { BlockHash } from '@leyden/bitcoin'
import { isServed } from './block-relay.ts'
import { SERVICE, type MessageOf, type Outgoing } from './message.ts'
import type { ChainEntry, PeerState } from './peer.ts'
import { close, note, send, type Peering } from './peering.ts'

const BASIC = 0
const MAX_FILTERS = 1000
const MAX_FILTER_HEADERS = 2000
const CHECKPOINT_INTERVAL = 1000

type Request = MessageOf<'getcfilters'> | MessageOf<'getcfheaders'> | MessageOf<'getcfcheckpt'>

/** Which filters to read, in order, for which answer. `before`: the block whose filter header the answer begins with. */
export type FilterQuery = {
  readonly kind: 'filters' | 'headers' | 'checkpoints'
  readonly stop: BlockHash
  readonly before: BlockHash | undefined
  readonly hashes: readonly BlockHash[]
}

const refuse = (peering: Peering, peer: PeerState, reason: string): undefined => {
  note(peering, `peer ${peer.id} ${reason}`)
  close(peering, peer, reason)
}

/** The block at which a range ends, when the range may be asked for. */
const endOf = (peering: Peering, peer: PeerState, request: Request, start: number, max: number): ChainEntry | undefined => {
  const { filterType, stop } = request
  if (filterType !== BASIC || (peer.ourServices & SERVICE.compactFilters) === 0n)
    return refuse(peering, peer, `requested unsupported block filter type: ${filterType}`)
  const entry = peering.ports.chain.find(stop)
  if (entry === undefined || !isServed(peering, entry)) return refuse(peering, peer, `requested invalid block hash: ${stop}`)
  if (start > entry.height)
    return refuse(
      peering,
      peer,
      `sent invalid getcfilters/getcfheaders with start height ${start} and stop height ${entry.height}`,
    )
  if (entry.height - start >= max)
    return refuse(peering, peer, `requested too many cfilters/cfheaders: ${entry.height - start + 1} / ${max}`)
  return entry
}

const range = ({ ports: { chain } }: Peering, end: ChainEntry, start: number): BlockHash[] => {
  const hashes: BlockHash[] = []
  for (let at: ChainEntry | undefined = end; at !== undefined && at.height >= start; at = at.parent) hashes.push(at.hash)
  return chain.isInvalid(end) ? [] : hashes.reverse()
}

export const receiveFilterRequest = (peering: Peering, peer: PeerState, request: Request): void => {
  const { chain } = peering.ports
  const isCheckpoint = request.type === 'getcfcheckpt'
  const start = isCheckpoint ? 0 : request.startHeight
  const max = isCheckpoint ? Infinity : request.type === 'getcfilters' ? MAX_FILTERS : MAX_FILTER_HEADERS
  const end = endOf(peering, peer, request, start, max)
  if (end === undefined) return
  const { stop } = request
  const checkpoints = (): BlockHash[] =>
    Array.from(
      { length: Math.floor(end.height / CHECKPOINT_INTERVAL) },
      (_, i) => (chain.ancestor(end, (i + 1) * CHECKPOINT_INTERVAL) as ChainEntry).hash,
    )
  const query: FilterQuery = isCheckpoint
    ? { kind: 'checkpoints', stop, before: undefined, hashes: checkpoints() }
    : {
        kind: request.type === 'getcfilters' ? 'filters' : 'headers',
        stop,
        before: start === 0 ? undefined : chain.ancestor(end, start - 1)?.hash,
        hashes: range(peering, end, start),
      }
  peer.pending++
  peering.effects.push({ type: 'readFilters', peer: peer.id, query })
}

/** The filters were read; none when the index does not have them all. */
export const filtersRead = (peering: Peering, peer: PeerState, messages: readonly Outgoing[]): void => {
  peer.pending--
  for (const message of messages) send(peering, peer, message)
}
