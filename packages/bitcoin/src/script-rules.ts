/**
 * Names of script failures and the flags that switch rules on. Bitcoin Core script/script_error.h, interpreter.h, policy/policy.h.
 * Mandatory flags are consensus on today's chain (consensus/rules.ts gives those of a height); standard ones are policy.
 * Errors carry the names of Core's script_tests.json.
 * A fork of a ledger adds its id to the flags (withForkId): the rules of a script stay one number, through workers and caches.
 */

/** Bits of `flags`. WITNESS and CLEANSTACK are used only together with P2SH. */
export const VERIFY = {
  NONE: 0,
  P2SH: 1 << 0,
  STRICTENC: 1 << 1,
  DERSIG: 1 << 2,
  LOW_S: 1 << 3,
  NULLDUMMY: 1 << 4,
  SIGPUSHONLY: 1 << 5,
  MINIMALDATA: 1 << 6,
  DISCOURAGE_UPGRADABLE_NOPS: 1 << 7,
  CLEANSTACK: 1 << 8,
  CHECKLOCKTIMEVERIFY: 1 << 9,
  CHECKSEQUENCEVERIFY: 1 << 10,
  WITNESS: 1 << 11,
  DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM: 1 << 12,
  MINIMALIF: 1 << 13,
  NULLFAIL: 1 << 14,
  WITNESS_PUBKEYTYPE: 1 << 15,
  CONST_SCRIPTCODE: 1 << 16,
  TAPROOT: 1 << 17,
  DISCOURAGE_UPGRADABLE_TAPROOT_VERSION: 1 << 18,
  DISCOURAGE_OP_SUCCESS: 1 << 19,
  DISCOURAGE_UPGRADABLE_PUBKEYTYPE: 1 << 20,
} as const

/** Fork ids are 1 to this; the flags below take the low 32 bits of a number, the id what is above them. */
export const MAX_FORK_ID = 2 ** 21 - 1
const FORK_ID_UNIT = 2 ** 32

/**
 * The flags of a ledger's fork: its signatures commit to this id. 0 leaves them as they are. Ask for rules with `&` as ever; `|` and
 * `~` would lose the id, so add it last. Throws RangeError on what is no id.
 */
export const withForkId = (flags: number, forkId: number): number => {
  if (!Number.isInteger(forkId) || forkId < 0 || forkId > MAX_FORK_ID) throw new RangeError(`no fork id: ${forkId}`)
  return (flags >>> 0) + forkId * FORK_ID_UNIT
}

/** The id in flags, 0 for none. */
export const forkIdOf = (flags: number): number => (flags < FORK_ID_UNIT ? 0 : Math.floor(flags / FORK_ID_UNIT))

/** Consensus today: BIP 16, 66, 147, 65, 112, 141, 341. */
export const MANDATORY_SCRIPT_FLAGS: number =
  VERIFY.P2SH |
  VERIFY.DERSIG |
  VERIFY.NULLDUMMY |
  VERIFY.CHECKLOCKTIMEVERIFY |
  VERIFY.CHECKSEQUENCEVERIFY |
  VERIFY.WITNESS |
  VERIFY.TAPROOT

/** What a mempool asks before it relays. */
export const STANDARD_SCRIPT_FLAGS: number =
  MANDATORY_SCRIPT_FLAGS |
  VERIFY.STRICTENC |
  VERIFY.MINIMALDATA |
  VERIFY.DISCOURAGE_UPGRADABLE_NOPS |
  VERIFY.CLEANSTACK |
  VERIFY.MINIMALIF |
  VERIFY.NULLFAIL |
  VERIFY.LOW_S |
  VERIFY.DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM |
  VERIFY.WITNESS_PUBKEYTYPE |
  VERIFY.CONST_SCRIPTCODE |
  VERIFY.DISCOURAGE_UPGRADABLE_TAPROOT_VERSION |
  VERIFY.DISCOURAGE_OP_SUCCESS |
  VERIFY.DISCOURAGE_UPGRADABLE_PUBKEYTYPE

/** Why a script failed. UNKNOWN_ERROR is a number on the stack that is too long or not minimal, as in Core 28. */
export type ScriptError =
  | 'UNKNOWN_ERROR'
  | 'EVAL_FALSE'
  | 'OP_RETURN'
  | 'SCRIPT_SIZE'
  | 'PUSH_SIZE'
  | 'OP_COUNT'
  | 'STACK_SIZE'
  | 'SIG_COUNT'
  | 'PUBKEY_COUNT'
  | 'VERIFY'
  | 'EQUALVERIFY'
  | 'CHECKMULTISIGVERIFY'
  | 'CHECKSIGVERIFY'
  | 'NUMEQUALVERIFY'
  | 'BAD_OPCODE'
  | 'DISABLED_OPCODE'
  | 'INVALID_STACK_OPERATION'
  | 'INVALID_ALTSTACK_OPERATION'
  | 'UNBALANCED_CONDITIONAL'
  | 'NEGATIVE_LOCKTIME'
  | 'UNSATISFIED_LOCKTIME'
  | 'SIG_HASHTYPE'
  | 'SIG_DER'
  | 'MINIMALDATA'
  | 'SIG_PUSHONLY'
  | 'SIG_HIGH_S'
  | 'SIG_NULLDUMMY'
  | 'PUBKEYTYPE'
  | 'CLEANSTACK'
  | 'MINIMALIF'
  | 'NULLFAIL'
  | 'DISCOURAGE_UPGRADABLE_NOPS'
  | 'DISCOURAGE_UPGRADABLE_WITNESS_PROGRAM'
  | 'DISCOURAGE_UPGRADABLE_TAPROOT_VERSION'
  | 'DISCOURAGE_OP_SUCCESS'
  | 'DISCOURAGE_UPGRADABLE_PUBKEYTYPE'
  | 'WITNESS_PROGRAM_WRONG_LENGTH'
  | 'WITNESS_PROGRAM_WITNESS_EMPTY'
  | 'WITNESS_PROGRAM_MISMATCH'
  | 'WITNESS_MALLEATED'
  | 'WITNESS_MALLEATED_P2SH'
  | 'WITNESS_UNEXPECTED'
  | 'WITNESS_PUBKEYTYPE'
  | 'SCHNORR_SIG_SIZE'
  | 'SCHNORR_SIG_HASHTYPE'
  | 'SCHNORR_SIG'
  | 'TAPROOT_WRONG_CONTROL_SIZE'
  | 'TAPSCRIPT_VALIDATION_WEIGHT'
  | 'TAPSCRIPT_CHECKMULTISIG'
  | 'TAPSCRIPT_MINIMALIF'
  | 'OP_CODESEPARATOR'
  | 'SIG_FINDANDDELETE'

/** Leaves the evaluation of a script from any depth; never leaves interpreter.ts. */
export class ScriptFailure extends Error {
  readonly code: ScriptError
  constructor(code: ScriptError) {
    super(code)
    this.name = 'ScriptFailure'
    this.code = code
  }
}

export const fail = (code: ScriptError): never => {
  throw new ScriptFailure(code)
}
