/**
 * How messages carry addresses of nodes: 16 bytes in `addr` and `version`, any network in `addrv2` (BIP 155). Bitcoin Core
 * netaddress.h. An entry of a network that nobody here knows is skipped; one with the wrong length for its network is not.
 */
import { compactSize, DecodeError, type Codec, type Reader, type Writer } from '@leyden/codec'
import { fromV1Bytes, toV1Bytes, type AddressNetwork, type NetAddress, type TimedAddress } from './net-address.ts'

/** Bitcoin Core's MAX_ADDR_TO_SEND. */
export const MAX_ADDRESSES = 1000
const MAX_ADDRESS_BYTES = 512

const V2_NETWORKS: readonly {
  readonly id: number
  readonly network: AddressNetwork
  readonly length: number
  readonly name: string
}[] = [
  { id: 1, network: 'ipv4', length: 4, name: 'IPv4' },
  { id: 2, network: 'ipv6', length: 16, name: 'IPv6' },
  { id: 4, network: 'onion', length: 32, name: 'TORv3' },
  { id: 5, network: 'i2p', length: 32, name: 'I2P' },
  { id: 6, network: 'cjdns', length: 16, name: 'CJDNS' },
]

const readV2 = (reader: Reader): NetAddress | undefined => {
  const id = reader.u8()
  const length = compactSize.decode(reader)
  if (length > MAX_ADDRESS_BYTES) throw new DecodeError('too_large', `Address too long: ${length} > ${MAX_ADDRESS_BYTES}`)
  const bytes = reader.bytes(length).slice()
  const known = V2_NETWORKS.find((one) => one.id === id)
  if (known === undefined) return undefined
  if (length !== known.length)
    throw new DecodeError('invalid', `BIP155 ${known.name} address with length ${length} (should be ${known.length})`)
  // Forms of other networks inside IPv6 are for the first version only.
  if (known.network === 'ipv6' && fromV1Bytes(bytes).network !== 'ipv6') return undefined
  return { network: known.network, bytes }
}

const writeV2 = (writer: Writer, { network, bytes }: NetAddress): void => {
  const known = V2_NETWORKS.find((one) => one.network === network)
  if (known === undefined) throw new RangeError(`an address of ${network} does not travel`)
  writer.u8(known.id)
  compactSize.encode(writer, bytes.length)
  writer.bytes(bytes)
}

const v1: Codec<TimedAddress> = {
  encode(writer, { endpoint, services, time }) {
    writer.u32le(time)
    writer.u64le(services)
    writer.bytes(toV1Bytes(endpoint))
    writer.u16(endpoint.port)
  },
  decode(reader) {
    const time = reader.u32le()
    const services = reader.u64le()
    const address = fromV1Bytes(reader.bytes(16))
    return { endpoint: { ...address, port: reader.u16() }, services, time }
  },
}

const v2: Codec<TimedAddress | undefined> = {
  encode(writer, address) {
    if (address === undefined) return
    const { endpoint, services, time } = address
    writer.u32le(time)
    compactSize.encode(writer, Number(services))
    writeV2(writer, endpoint)
    writer.u16(endpoint.port)
  },
  decode(reader) {
    const time = reader.u32le()
    const services = BigInt(compactSize.decode(reader))
    const address = readV2(reader)
    const port = reader.u16()
    return address === undefined ? undefined : { endpoint: { ...address, port }, services, time }
  },
}

/** `count` may be larger than the list: unknown networks are left out, and over the limit nothing is read. */
export type AddressList = { readonly addresses: readonly TimedAddress[]; readonly count: number }

const list = (item: Codec<TimedAddress | undefined>): Codec<AddressList> => ({
  encode(writer, { addresses }) {
    compactSize.encode(writer, addresses.length)
    for (const address of addresses) item.encode(writer, address)
  },
  decode(reader) {
    const count = compactSize.decode(reader)
    if (count > MAX_ADDRESSES) {
      reader.rest()
      return { addresses: [], count }
    }
    const addresses: TimedAddress[] = []
    for (let i = 0; i < count; i++) {
      const address = item.decode(reader)
      if (address !== undefined) addresses.push(address)
    }
    return { addresses, count }
  },
})

export const addressesV1: Codec<AddressList> = list(v1 as Codec<TimedAddress | undefined>)
export const addressesV2: Codec<AddressList> = list(v2)
