/**
 * Known answers, asked of the backend in use: a node runs this before it touches a key.
 * A miscompiled addon, a broken WebAssembly engine or a generator that repeats itself stops the start, not a payment.
 */
import { bytesToHex, concat, equalBytes, hexToBytes, utf8Encode } from '@leyden/codec'
import { backendName } from './backend.ts'
import { chacha20poly1305Decrypt, chacha20poly1305Encrypt } from './cipher.ts'
import { ecdsaRecover, ecdsaSign, ecdsaSignRecoverable, ecdsaVerify } from './ecdsa.ts'
import { CryptoError } from './error.ts'
import { sha256 } from './hash.ts'
import { ecdh, pointFromSecret, pointMultiply, pointTweakAdd, secretAdd, secretMultiply } from './point.ts'
import { randomBytes } from './random.ts'
import { schnorrSign, schnorrVerify } from './schnorr.ts'

const expect = (what: string, ok: boolean): void => {
  if (!ok) throw new CryptoError('self_test_failed', `${what} (${backendName} backend)`)
}

const scalar = (n: number): Uint8Array => {
  const bytes = new Uint8Array(32)
  bytes[31] = n
  return bytes
}

const flipped = (bytes: Uint8Array): Uint8Array => {
  const out = new Uint8Array(bytes)
  out[out.length - 1] = (out[out.length - 1] as number) ^ 1
  return out
}

/** The well-known RFC 6979 signature of this text's SHA-256 by the secret 1. */
const ECDSA_TEXT = 'Satoshi Nakamoto'
const ECDSA_SIGNATURE =
  '934b1ea10a4b3c1757e2b0c017d0b6143ce3c9a7e6a4a49860d7a6ab210ee3d82442ce9d2b916064108014783e923ec36b49743e2ffa1c4496f01a512aafd9e5'

const checkEcdsa = (): void => {
  const hash = sha256(utf8Encode(ECDSA_TEXT))
  const point = pointFromSecret(scalar(1))
  const signature = ecdsaSign(hash, scalar(1))
  expect('ecdsa signing', bytesToHex(signature) === ECDSA_SIGNATURE)
  expect('ecdsa verification', ecdsaVerify(signature, hash, point))
  expect('ecdsa refusal', !ecdsaVerify(signature, flipped(hash), point) && !ecdsaVerify(flipped(signature), hash, point))
  const { recoveryId } = ecdsaSignRecoverable(hash, scalar(1))
  expect('ecdsa recovery', equalBytes(ecdsaRecover(signature, recoveryId, hash) ?? hash, point))
}

/** BIP 340 test vector 0: secret 3, message and aux of zeros. */
const SCHNORR_SIGNATURE =
  'e907831f80848d1069a5371b402410364bdf1c5f8307b0084c55f1ce2dca821525f66a4a85ea8b71e482a74f382d2ce5ebeee8fdb2172f477df4900d310536c0'

const checkSchnorr = (): void => {
  const message = new Uint8Array(32)
  const xOnly = pointFromSecret(scalar(3)).subarray(1)
  const signature = schnorrSign(message, scalar(3), new Uint8Array(32))
  expect('schnorr signing', bytesToHex(signature) === SCHNORR_SIGNATURE)
  expect('schnorr verification', schnorrVerify(signature, message, xOnly))
  expect(
    'schnorr refusal',
    !schnorrVerify(signature, flipped(message), xOnly) && !schnorrVerify(flipped(signature), message, xOnly),
  )
}

/** BOLT 8 § Appendix A, act one of the initiator: the shared secret of e.priv and rs.pub. */
const ECDH_POINT = '028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7'
const ECDH_SHARED = '1e2fb3c8fe8fb9f262f649f64d26ecf0f2c0a805a767cf02dc2d77a6ef1fdcc3'

const checkPoints = (): void => {
  const [two, three, five, six] = [scalar(2), scalar(3), scalar(5), scalar(6)]
  expect('ecdh', bytesToHex(ecdh(new Uint8Array(32).fill(0x12), hexToBytes(ECDH_POINT))) === ECDH_SHARED)
  expect('scalar sum', equalBytes(secretAdd(two, three), five) && equalBytes(secretMultiply(two, three), six))
  expect('point sum', equalBytes(pointTweakAdd(pointFromSecret(two), three), pointFromSecret(five)))
  expect('point product', equalBytes(pointMultiply(pointFromSecret(two), three), pointFromSecret(six)))
}

/** BOLT 8 § Appendix A, act one: the tag over an empty plaintext. */
const CIPHER_KEY = 'e68f69b7f096d7917245f5e5cf8ae1595febe4d4644333c99f9c4a1282031c9f'
const CIPHER_DATA = '9e0e7de8bb75554f21db034633de04be41a2b8a18da7a319a03c803bf02b396c'
const CIPHER_TAG = '0df6086551151f58b8afe6c195782c6a'

const checkCipher = (): void => {
  const [key, data, nonce] = [hexToBytes(CIPHER_KEY), hexToBytes(CIPHER_DATA), new Uint8Array(12)]
  const tag = chacha20poly1305Encrypt(key, nonce, data, new Uint8Array(0))
  expect('chacha20poly1305', bytesToHex(tag) === CIPHER_TAG)
  expect('chacha20poly1305 opening', chacha20poly1305Decrypt(key, nonce, data, tag)?.length === 0)
  expect('chacha20poly1305 refusal', chacha20poly1305Decrypt(key, nonce, data, flipped(tag)) === undefined)
}

/** Not a measure of entropy: it finds a generator that is stuck. */
const checkRandomness = (): void => {
  const drawn = concat(...Array.from({ length: 4 }, () => randomBytes(32)))
  expect('randomness', new Set(drawn).size > 16 && !equalBytes(drawn.subarray(0, 32), drawn.subarray(32, 64)))
}

/** Throws {@link CryptoError} `self_test_failed` on the first wrong answer. Takes a few milliseconds; 50 on the reference backend. */
export const selfTest = (): void => {
  checkEcdsa()
  checkSchnorr()
  checkPoints()
  checkCipher()
  checkRandomness()
}
