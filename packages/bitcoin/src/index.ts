export { addressError, type AddressError } from './address-error.ts'
export * from './address.ts'
export * from './block-filter.ts'
export * from './block-signing.ts'
export * from './block.ts'
export * from './consensus/block.ts'
export * from './consensus/header.ts'
export * from './consensus/rules.ts'
export { checkSignetSolution } from './consensus/signet.ts'
export * from './consensus/tx.ts'
export { descriptorChecksum, withChecksum } from './descriptor/checksum.ts'
export {
  descriptorText,
  hasPrivateKeys,
  isRanged,
  isSolvable,
  parseDescriptor,
  type Descriptor,
  type ParsedDescriptor,
} from './descriptor/descriptor.ts'
export { emptyKnowledge, expandDescriptor, type Knowledge, type KnownTaproot } from './descriptor/expand.ts'
export { decodeExtendedKey, extendedKeyText, fingerprintOf, HARDENED, pathText } from './descriptor/extended-key.ts'
export { inferDescriptor } from './descriptor/infer.ts'
export { DescriptorError, type DerivedKey, type KeyOrigin } from './descriptor/key-expression.ts'
export * from './ids.ts'
export * from './interpreter.ts'
export { MAX_STACK_SIZE } from './evaluation.ts'
export * from './networks.ts'
export * from './partial-merkle.ts'
export * from './psbt-final.ts'
export * from './psbt.ts'
export * from './script-error-text.ts'
export * from './script-text.ts'
export * from './script.ts'
export {
  forkSighashType,
  isTaprootSighashType,
  SIGHASH,
  sighashCache,
  sighashLegacy,
  sighashTaproot,
  sighashV0,
  type SighashCache,
  type TaprootSighashOptions,
} from './sighash.ts'
export {
  checkSignatureEncoding,
  LOCKTIME_THRESHOLD,
  SEQUENCE_LOCKTIME_DISABLE_FLAG,
  SEQUENCE_LOCKTIME_MASK,
  SEQUENCE_LOCKTIME_TYPE_FLAG,
  type SignatureMemory,
} from './signature-check.ts'
export * from './taproot.ts'
export * from './tx.ts'
export * from './units.ts'
export * from './wif.ts'
