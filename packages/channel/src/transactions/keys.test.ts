import { bytesToHex, hexToBytes } from '@leyden/codec'
import { ecdsaVerify, pointFromSecret, sha256 } from '@leyden/crypto'
import { describe, expect, test } from 'vitest'
import type { KeyUse } from '../env.ts'
import { createSigner, derivePublicKey, deriveRevocationPublicKey, deriveRevocationSecret, deriveSecret } from './keys.ts'
import { EMPTY_REVOCATIONS, insertSecret } from './shachain.ts'

describe('BOLT 3 Appendix E', () => {
  const baseSecret = hexToBytes('000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f')
  const commitmentSecret = hexToBytes('1f1e1d1c1b1a191817161514131211100f0e0d0c0b0a09080706050403020100')
  const base = pointFromSecret(baseSecret)
  const point = pointFromSecret(commitmentSecret)

  test('the points of the secrets', () => {
    expect(bytesToHex(base)).toBe('036d6caac248af96f6afa7f904f550253a0f3ef3f5aa2fe6838a95b216691468e2')
    expect(bytesToHex(point)).toBe('025f7117a78150fe2ef97db7cfc83bd57b2e2c0d0dd25eaf467a4a1c2a45ce1486')
  })
  test('pubkey from basepoint and per_commitment_point', () => {
    expect(bytesToHex(derivePublicKey(base, point))).toBe('0235f2dbfaa89b57ec7b055afe29849ef7ddfeb1cefdb9ebdc43f5494984db29e5')
  })
  test('private key from basepoint secret and per_commitment_point', () => {
    expect(bytesToHex(deriveSecret(baseSecret, point))).toBe('cbced912d3b21bf196a766651e436aff192362621ce317704ea2f75d87e7be0f')
  })
  test('revocation pubkey from basepoint and per_commitment_point', () => {
    expect(bytesToHex(deriveRevocationPublicKey(base, point))).toBe(
      '02916e326636d19c33f13e8c0c3a03dd157f332f3e99c317c141dd865eb01f8ff0',
    )
  })
  test('revocation secret from basepoint secret and per_commitment_secret', () => {
    expect(bytesToHex(deriveRevocationSecret(baseSecret, commitmentSecret))).toBe(
      'd09ffff62ddb2297ab000cc85bcb4283fdeb6aa052affbc9dddcf33b61078110',
    )
  })
})

describe('signer', () => {
  const seed = new Uint8Array(32).fill(7)
  const nodeSecret = new Uint8Array(32).fill(8)
  const signer = createSigner(seed, nodeSecret)
  const hash = sha256(new Uint8Array(1))

  test('the same seed gives the same keys and signatures; another index gives others', () => {
    const again = createSigner(seed, nodeSecret)
    expect(again.basepoints(3)).toEqual(signer.basepoints(3))
    expect(again.sign(3, { key: 'funding' }, hash)).toEqual(signer.sign(3, { key: 'funding' }, hash))
    expect(again.perCommitmentPoint(3, 9)).toEqual(signer.perCommitmentPoint(3, 9))
    expect(signer.basepoints(4)).not.toEqual(signer.basepoints(3))
    expect(signer.perCommitmentPoint(4, 9)).not.toEqual(signer.perCommitmentPoint(3, 9))
    const points = Object.values(signer.basepoints(3)).map(bytesToHex)
    expect(new Set(points).size).toBe(5)
  })

  test('each use signs with the key that the other side derives', () => {
    const perCommitmentPoint = signer.perCommitmentPoint(0, 5)
    const perCommitmentSecret = createSigner(new Uint8Array(32).fill(9), nodeSecret).releaseSecret(0, 5)
    const base = signer.basepoints(1)
    const expected: [KeyUse, Uint8Array][] = [
      [{ key: 'funding' }, base.fundingPubkey],
      [{ key: 'payment' }, base.paymentBasepoint],
      [{ key: 'htlc', perCommitmentPoint }, derivePublicKey(base.htlcBasepoint, perCommitmentPoint)],
      [{ key: 'delayed', perCommitmentPoint }, derivePublicKey(base.delayedPaymentBasepoint, perCommitmentPoint)],
      [
        { key: 'revocation', perCommitmentSecret },
        deriveRevocationPublicKey(base.revocationBasepoint, pointFromSecret(perCommitmentSecret)),
      ],
    ]
    for (const [use, publicKey] of expected) {
      expect(signer.publicKey(1, use)).toEqual(publicKey)
      expect(ecdsaVerify(signer.sign(1, use, hash), hash, publicKey)).toBe(true)
    }
    expect(ecdsaVerify(signer.signNode(hash), hash, pointFromSecret(nodeSecret))).toBe(true)
  })

  test('B13: whoever may sign gets signatures, points and released secrets, and no key', () => {
    const perCommitmentPoint = signer.perCommitmentPoint(0, 5)
    const uses: readonly KeyUse[] = [
      { key: 'funding' },
      { key: 'payment' },
      { key: 'htlc', perCommitmentPoint },
      { key: 'delayed', perCommitmentPoint },
      { key: 'revocation', perCommitmentSecret: signer.releaseSecret(0, 4) },
    ]
    const answers = {
      basepoints: [signer.basepoints(0)],
      perCommitmentPoint: [perCommitmentPoint],
      releaseSecret: [signer.releaseSecret(0, 5)],
      sign: uses.map((use) => signer.sign(0, use, hash)),
      publicKey: uses.map((use) => signer.publicKey(0, use)),
      signNode: [signer.signNode(hash)],
    } satisfies Record<keyof typeof signer, unknown>
    expect(Object.keys(signer).toSorted()).toEqual(Object.keys(answers).toSorted())
    for (const door of Object.values(signer)) expect(typeof door).toBe('function')
    // What comes out is public: no answer but a released secret is a secret of any of the points.
    const publicKeys = new Set([
      ...[...Object.values(signer.basepoints(0)), ...uses.map((use) => signer.publicKey(0, use))].map(bytesToHex),
      bytesToHex(pointFromSecret(nodeSecret)),
    ])
    const given: readonly Uint8Array[] = Object.values(answers).flatMap((list) =>
      list.flatMap((one): readonly Uint8Array[] => (one instanceof Uint8Array ? [one] : Object.values(one))),
    )
    const secrets = given.filter(({ length }) => length === 32)
    expect(secrets.filter((secret) => publicKeys.has(bytesToHex(pointFromSecret(secret))))).toEqual([])
    expect(given).not.toContainEqual(seed)
  })

  test('released secrets are those of the points, and form one chain', () => {
    let store = EMPTY_REVOCATIONS
    for (let n = 0; n < 10; n++) {
      const secret = signer.releaseSecret(2, n)
      expect(pointFromSecret(secret)).toEqual(signer.perCommitmentPoint(2, n))
      const next = insertSecret(store, n, secret)
      if ('kind' in next) throw new Error(next.code)
      store = next
    }
  })
})
