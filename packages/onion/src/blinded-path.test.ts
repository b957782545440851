import { Msat } from '@leyden/bitcoin'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import { NodeId, nodeIdFromPoint } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { blindedAmountToForward, buildBlindedPath, encodeRecipientData, unblind } from './blinded-path.ts'
import { encodeHopPayload, readHopPayload } from './hop-payload.ts'
import { blindedSecret, buildOnion, type Onion, peelOnion } from './sphinx.ts'

const vectorsDir = process.env['LEYDEN_VECTORS'] ?? new URL('../../../../shared/vectors', import.meta.url).pathname
const routeFile = `${vectorsDir}/bolts/bolt04-route-blinding-test.json`
const paymentFile = `${vectorsDir}/bolts/bolt04-blinded-payment-onion-test.json`
const present = existsSync(routeFile) && existsSync(paymentFile)
if (!present) process.stderr.write(`skipped: no vectors at ${routeFile}\n`)
const read = (file: string): unknown => (present ? JSON.parse(readFileSync(file, 'utf8')) : undefined)

type Hop = { readonly node_id: string; readonly encoded_tlvs: string; readonly session_key?: string }
type RouteVector = {
  readonly generate: { readonly hops: readonly Hop[] }
  readonly route: {
    readonly first_node_id: string
    readonly first_path_key: string
    readonly hops: readonly { readonly blinded_node_id: string; readonly encrypted_data: string }[]
  }
  readonly unblind: {
    readonly hops: readonly {
      readonly node_privkey: string
      readonly path_key: string
      readonly blinded_privkey: string
      readonly decrypted_data: string
      readonly next_path_key: string
      readonly next_path_key_override?: string
    }[]
  }
}
type PaymentVector = {
  readonly generate: {
    readonly session_key: string
    readonly associated_data: string
    readonly full_route: { readonly hops: readonly { readonly pubkey: string; readonly payload: string }[] }
    readonly onion: string
  }
  readonly decrypt: {
    readonly hops: readonly { readonly onion: string; readonly node_privkey: string; readonly next_path_key?: string }[]
  }
}

describe.skipIf(!present)('bolt04 route blinding vector', () => {
  const vector = read(routeFile) as RouteVector | undefined
  const hops = vector?.generate.hops ?? []
  /** The vector joins two paths: Bob, Carol and Dave, Eve. */
  const pathOf = (from: number) =>
    buildBlindedPath(
      hexToBytes(hops[from]?.session_key ?? ''),
      hops.slice(from, from + 2).map((hop) => ({ nodeId: NodeId(hop.node_id), data: hexToBytes(hop.encoded_tlvs) })),
    )
  it('builds the path', () => {
    const first = pathOf(0)
    expect(first.firstNodeId).toBe(vector?.route.first_node_id)
    expect(bytesToHex(first.firstPathKey)).toBe(vector?.route.first_path_key)
    const built = [...first.hops, ...pathOf(2).hops].map((hop) => ({
      blinded_node_id: hop.blindedNodeId as string,
      encrypted_data: bytesToHex(hop.encryptedRecipientData),
    }))
    expect(built).toEqual(vector?.route.hops)
  })
  it('unblinds it hop by hop', () => {
    for (const [i, hop] of (vector?.unblind.hops ?? []).entries()) {
      const secret = hexToBytes(hop.node_privkey)
      expect(bytesToHex(blindedSecret(secret, hexToBytes(hop.path_key)))).toBe(hop.blinded_privkey)
      const opened = unblind(secret, hexToBytes(hop.path_key), hexToBytes(vector?.route.hops[i]?.encrypted_data ?? ''))
      expect(bytesToHex(opened?.nextPathKey as Uint8Array)).toBe(hop.next_path_key_override ?? hop.next_path_key)
      // Bob's and Eve's data hold records of unknown odd types, which are not kept.
      const kept = encodeRecipientData(opened?.data ?? {})
      expect(hop.decrypted_data.startsWith(bytesToHex(kept))).toBe(true)
    }
  })
  it('reads what the recipient wrote', () => {
    const [bob, , , eve] = vector?.unblind.hops ?? []
    const open = (hop: typeof bob, i: number) =>
      unblind(
        hexToBytes(hop?.node_privkey ?? ''),
        hexToBytes(hop?.path_key ?? ''),
        hexToBytes(vector?.route.hops[i]?.encrypted_data ?? ''),
      )?.data
    expect(open(bob, 0)).toEqual({
      padding: new Uint8Array(26),
      shortChannelId: 1729n,
      paymentRelay: { cltvExpiryDelta: 36, feeProportionalMillionths: 150, feeBaseMsat: 10_000 },
      paymentConstraints: { maxCltvExpiry: 748_005, htlcMinimumMsat: 1500n },
      allowedFeatures: new Uint8Array(0),
    })
    expect(open(eve, 3)).toMatchObject({ pathId: hexToBytes('deadbeef') })
  })
})

describe.skipIf(!present)('bolt04 blinded payment vector', () => {
  const vector = read(paymentFile) as PaymentVector | undefined
  const associatedData = hexToBytes(vector?.generate.associated_data ?? '')
  const hops = (vector?.generate.full_route.hops ?? []).map(({ pubkey, payload }) => ({
    nodeId: NodeId(pubkey),
    payload: hexToBytes(payload.slice(2)),
  }))
  it('builds the onion', () => {
    const onion = buildOnion({ sessionKey: hexToBytes(vector?.generate.session_key ?? ''), hops, associatedData }) as Onion
    expect(bytesToHex(onion.packet)).toBe(vector?.generate.onion)
  })
  it('is peeled hop by hop, each path key found in the payload or handed on', () => {
    let pathKey: Uint8Array | undefined
    const kinds: string[] = []
    for (const hop of vector?.decrypt.hops ?? []) {
      const secret = hexToBytes(hop.node_privkey)
      const peeled = peelOnion(hexToBytes(hop.onion), secret, associatedData, pathKey)
      if (peeled.kind === 'malformed') throw new Error('malformed')
      const payload = readHopPayload(peeled.payload, { final: peeled.kind === 'final', hasPathKey: pathKey !== undefined })
      kinds.push(payload.kind)
      if (payload.kind !== 'blinded_forward' && payload.kind !== 'blinded_final') continue
      expect(encodeHopPayload(payload)).toEqual(peeled.payload)
      const opened = unblind(secret, payload.currentPathKey ?? (pathKey as Uint8Array), payload.encryptedRecipientData)
      pathKey = opened?.nextPathKey
      expect(bytesToHex(pathKey as Uint8Array)).toBe(hop.next_path_key)
    }
    expect(kinds).toEqual(['forward', 'blinded_forward', 'blinded_forward', 'blinded_forward', 'blinded_final'])
  })
})

describe('blinded data', () => {
  const secret = new Uint8Array(32).fill(3)
  const sessionKey = new Uint8Array(32).fill(4)
  const path = buildBlindedPath(sessionKey, [
    { nodeId: nodeIdFromPoint(pointFromSecret(secret)), data: encodeRecipientData({ pathId: hexToBytes('01') }) },
  ])
  const sealed = path.hops[0]?.encryptedRecipientData as Uint8Array
  it('opens with its path key only', () => {
    expect(unblind(secret, path.firstPathKey, sealed)?.data).toEqual({ pathId: hexToBytes('01') })
    expect(unblind(secret, pointFromSecret(new Uint8Array(32).fill(5)), sealed)).toBeUndefined()
    expect(unblind(secret, new Uint8Array(33), sealed)).toBeUndefined()
    expect(unblind(secret, path.firstPathKey, new Uint8Array(0))).toBeUndefined()
  })
  it('refuses unknown even records', () => {
    const bad = buildBlindedPath(sessionKey, [{ nodeId: path.firstNodeId, data: hexToBytes('1400') }])
    expect(unblind(secret, bad.firstPathKey, bad.hops[0]?.encryptedRecipientData as Uint8Array)).toBeUndefined()
  })
  it('S65: random data never throws', () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 60 }), (data) => {
        const one = buildBlindedPath(sessionKey, [{ nodeId: path.firstNodeId, data }])
        const opened = unblind(secret, one.firstPathKey, one.hops[0]?.encryptedRecipientData as Uint8Array)
        expect(opened === undefined || opened.nextPathKey.length === 33).toBe(true)
        expect(unblind(secret, path.firstPathKey, data)).toBeUndefined()
      }),
      { numRuns: 60 },
    )
  })
})

describe('what a blinded hop forwards', () => {
  const relay = { cltvExpiryDelta: 25, feeBaseMsat: 100, feeProportionalMillionths: 150 }
  // The formula of BOLT 4 rounds up what is forwarded: in one of some thousand amounts it takes a millisatoshi of the fee.
  it('leaves the fee that the recipient set, to a millisatoshi', () => {
    fc.assert(
      fc.property(fc.bigInt(100n, 10n ** 15n), (received) => {
        const forwarded = blindedAmountToForward(Msat(received), relay) as Msat
        const fee = 100n + (forwarded * 150n) / 1_000_000n
        expect(received - forwarded).toBeGreaterThanOrEqual(fee - 1n)
        expect(received - forwarded).toBeLessThanOrEqual(fee + 1n)
      }),
      { examples: [[869_781_982_817_029n]] },
    )
  })
  it('is nothing when the base fee is not covered', () => {
    expect(blindedAmountToForward(Msat(99n), relay)).toBeUndefined()
    expect(blindedAmountToForward(Msat(100n), relay)).toBe(0n)
  })
})
