import { bytesToHex, concat, hexToBytes } from '@leyden/codec'
import { hmacSha256, pointFromSecret, sha256 } from '@leyden/crypto'
import { NodeId, nodeIdFromPoint } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { existsSync, readFileSync } from 'node:fs'
import { describe, expect, it } from 'vitest'
import { applyStream, deriveKey } from './keys.ts'
import {
  buildOnion,
  INVALID_ONION_BLINDING,
  INVALID_ONION_HMAC,
  INVALID_ONION_KEY,
  INVALID_ONION_VERSION,
  type Onion,
  onionPayloadsBytes,
  peelOnion,
} from './sphinx.ts'

const vectorsDir = process.env['LEYDEN_VECTORS'] ?? new URL('../../../../shared/vectors', import.meta.url).pathname
const vectorFile = `${vectorsDir}/bolts/bolt04-onion-test.json`
if (!existsSync(vectorFile)) process.stderr.write(`skipped: no vectors at ${vectorFile}\n`)
const vector = existsSync(vectorFile)
  ? (JSON.parse(readFileSync(vectorFile, 'utf8')) as {
      readonly generate: {
        readonly session_key: string
        readonly associated_data: string
        readonly hops: readonly { readonly pubkey: string; readonly payload: string }[]
      }
      readonly onion: string
      readonly decode: readonly string[]
    })
  : undefined

/** Without its BigSize length. */
const unframed = (payload: string): Uint8Array => hexToBytes(payload.slice(payload.startsWith('fd') ? 6 : 2))

describe.skipIf(vector === undefined)('bolt04 onion vector', () => {
  const { generate, onion, decode } = vector ?? {
    generate: { session_key: '', associated_data: '', hops: [] },
    onion: '',
    decode: [],
  }
  const hops = generate.hops.map(({ pubkey, payload }) => ({ nodeId: NodeId(pubkey), payload: unframed(payload) }))
  const associatedData = hexToBytes(generate.associated_data)

  it('builds', () => {
    const built = buildOnion({ sessionKey: hexToBytes(generate.session_key), hops, associatedData }) as Onion
    expect(bytesToHex(built.packet)).toBe(onion)
  })
  it('peels, hop by hop', () => {
    let packet = hexToBytes(onion)
    const payloads: string[] = []
    const kinds: string[] = []
    for (const secret of decode) {
      const peeled = peelOnion(packet, hexToBytes(secret), associatedData)
      kinds.push(peeled.kind)
      if (peeled.kind !== 'malformed') payloads.push(bytesToHex(peeled.payload))
      if (peeled.kind === 'forward') packet = peeled.nextPacket
    }
    expect(kinds).toEqual(['forward', 'forward', 'forward', 'forward', 'final'])
    expect(payloads).toEqual(hops.map(({ payload }) => bytesToHex(payload)))
  })
})

const secrets = Array.from({ length: 27 }, (_, i) => new Uint8Array(32).fill(i + 1))
const nodeIds = secrets.map((secret) => nodeIdFromPoint(pointFromSecret(secret)))
const sessionKey = new Uint8Array(32).fill(0x41)
const associatedData = new Uint8Array(32).fill(0x42)
const routeOf = (payloads: readonly Uint8Array[]) => payloads.map((payload, i) => ({ nodeId: nodeIds[i] as NodeId, payload }))
const build = (payloads: readonly Uint8Array[]) => buildOnion({ sessionKey, hops: routeOf(payloads), associatedData })

describe('any route', () => {
  it('that fits comes out hop by hop as it went in', () => {
    const payloads = fc.array(fc.uint8Array({ minLength: 2, maxLength: 300 }), { minLength: 1, maxLength: 12 })
    fc.assert(
      fc.property(
        payloads.filter((all) => onionPayloadsBytes(all) <= 1300),
        (all) => {
          const onion = build(all) as Onion
          let packet = onion.packet
          const seen = all.map((_, i) => {
            const peeled = peelOnion(packet, secrets[i] as Uint8Array, associatedData)
            if (peeled.kind === 'forward') packet = peeled.nextPacket
            return peeled.kind === 'malformed' ? peeled : { payload: peeled.payload, sharedSecret: peeled.sharedSecret }
          })
          expect(seen).toEqual(all.map((payload, i) => ({ payload, sharedSecret: onion.sharedSecrets[i] })))
        },
      ),
      { numRuns: 25 },
    )
  })
  it('S68: fills 1300 bytes to the last and refuses one more', () => {
    const fill = (bytes: number) => [new Uint8Array(bytes - 3 - 32)]
    expect(build(fill(1300))).toHaveProperty('packet')
    expect(build(fill(1301))).toEqual({ problem: 'onion_too_big', bytes: 1301 })
    const long = secrets.map(() => new Uint8Array(20))
    expect(build(long)).toEqual({ problem: 'onion_too_big', bytes: 27 * 53 })
    expect(build(long.slice(0, 24))).toHaveProperty('packet')
  })
  it('refuses a node id that is no point', () => {
    const hops = [...routeOf([new Uint8Array(2)]), { nodeId: NodeId('02'.padEnd(66, '0')), payload: new Uint8Array(2) }]
    expect(buildOnion({ sessionKey, hops, associatedData })).toEqual({ problem: 'invalid_node_id', index: 1 })
  })
  it('throws without hops and on an empty payload', () => {
    expect(() => build([])).toThrow(RangeError)
    expect(() => build([new Uint8Array(1)])).toThrow(RangeError)
  })
})

describe('a packet that is no good', () => {
  const { packet } = build([new Uint8Array(20), new Uint8Array(20)]) as Onion
  const [secret] = secrets as [Uint8Array]
  const changed = (at: number, byte: number): Uint8Array => packet.map((old, i) => (i === at ? byte : old))
  it.each([
    ['version', changed(0, 1), INVALID_ONION_VERSION],
    ['ephemeral key', changed(1, 5), INVALID_ONION_KEY],
    ['payloads', changed(700, (packet[700] ?? 0) ^ 1), INVALID_ONION_HMAC],
    ['HMAC', changed(1365, (packet[1365] ?? 0) ^ 1), INVALID_ONION_HMAC],
    ['length', packet.slice(1), INVALID_ONION_VERSION],
  ])('with another %s is malformed, with a code and the hash of the onion', (_, bad, failureCode) => {
    expect(peelOnion(bad, secret, associatedData)).toEqual({ kind: 'malformed', failureCode, sha256OfOnion: sha256(bad) })
  })
  it('for other associated data is malformed', () => {
    expect(peelOnion(packet, secret, new Uint8Array(32))).toMatchObject({ failureCode: INVALID_ONION_HMAC })
  })
  it('inside a blinded path gives one reason for all', () => {
    const pathKey = pointFromSecret(new Uint8Array(32).fill(9))
    for (const bad of [changed(0, 1), changed(1, 5), changed(700, 1), packet])
      expect(peelOnion(bad, secret, associatedData, pathKey)).toMatchObject({ failureCode: INVALID_ONION_BLINDING })
    expect(peelOnion(packet, secret, associatedData, new Uint8Array(33))).toMatchObject({ failureCode: INVALID_ONION_BLINDING })
  })
  it('S55: refuses a payload length beyond the packet, not minimal, or reserved', () => {
    const frames = ['ffffffffffffffffff', 'fe00010000', 'fd0514', 'fd0010', '00', '01', 'fd04f2']
    for (const frame of frames) {
      // An honest HMAC over dishonest framing: what only an origin can make.
      const forged = forge(hexToBytes(frame))
      expect(peelOnion(forged, secret, associatedData)).toMatchObject({ kind: 'malformed', failureCode: INVALID_ONION_HMAC })
    }
    expect(peelOnion(forge(hexToBytes('020000')), secret, associatedData)).toMatchObject({ kind: 'final' })
  })
  it('S65: random bytes never throw', () => {
    fc.assert(
      fc.property(fc.uint8Array({ minLength: 1366, maxLength: 1366 }), fc.boolean(), (bytes, plausible) => {
        const sent = plausible ? concat(packet.subarray(0, 34), bytes.subarray(34)) : bytes
        expect(peelOnion(sent, secret, associatedData).kind).toBe('malformed')
      }),
      { numRuns: 100 },
    )
  })
})

/** An onion for the first secret whose unwrapped payloads begin with `start`, its HMAC right. */
function forge(start: Uint8Array): Uint8Array {
  const { packet, sharedSecrets } = build([new Uint8Array(20)]) as Onion
  const wrap = (payloads: Uint8Array): Uint8Array => applyStream(deriveKey('rho', sharedSecrets[0] as Uint8Array), payloads)
  const plain = new Uint8Array(1300)
  plain.set(start)
  const payloads = wrap(plain)
  const hmac = hmacSha256(deriveKey('mu', sharedSecrets[0] as Uint8Array), concat(payloads, associatedData))
  return concat(packet.subarray(0, 34), payloads, hmac)
}
