/** The one door to curves, hashes and ciphers. No protocol lives here. */
export { backendName, useBackend, type BackendName, type RecoverableSignature } from './backend.ts'
export { chacha20, chacha20poly1305Decrypt, chacha20poly1305Encrypt, useCiphers, type Ciphers } from './cipher.ts'
export { compactFromDer, compactFromDerLax, derFromCompact, isStrictDer } from './der.ts'
export { ecdsaRecover, ecdsaSign, ecdsaSignLowR, ecdsaSignRecoverable, ecdsaVerify, ecdsaVerifyLax, hasLowR } from './ecdsa.ts'
export { equalConstantTime } from './equal.ts'
export { CryptoError, type CryptoErrorCode } from './error.ts'
export { hash160, ripemd160, sha1, sha256, sha256d, sha3, sha512, taggedHash, useHashes, type Hashes } from './hash.ts'
export { hkdfSha256, hmacSha256, hmacSha512 } from './hmac.ts'
export {
  ecdh,
  isValidPoint,
  isValidPublicKey,
  isValidSecret,
  isValidXOnly,
  pointAdd,
  pointCompress,
  pointFromSecret,
  pointFromXOnly,
  pointMultiply,
  pointNegate,
  pointTweakAdd,
  pointUncompress,
  secretAdd,
  secretMultiply,
  secretNegate,
  xOnlyFromPoint,
} from './point.ts'
export { randomBytes, randomSecret } from './random.ts'
export { schnorrSign, schnorrVerify } from './schnorr.ts'
export { selfTest } from './self-test.ts'
export { taprootTweakPoint, taprootTweakSecret, xOnlyTweakAdd, xOnlyTweakAddCheck, type TaprootOutputKey } from './taproot.ts'
