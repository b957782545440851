/**
 * Where a closing transaction may pay. BOLT 2 § Closing Initiation: shutdown.
 */
import { OP, witnessProgram } from '@leyden/bitcoin'

/** What was negotiated, as far as it decides which forms are allowed. */
export interface ScriptForms {
  readonly anySegwit: boolean
  readonly simpleClose: boolean
}

/** OP_RETURN and one push of 6 to 80 bytes, in one of the two forms. */
const isDataOutput = (script: Uint8Array): boolean => {
  const [opcode, length, longer] = script
  if (opcode !== OP.OP_RETURN || length === undefined) return false
  if (length >= 6 && length <= 75) return script.length === 2 + length
  return length === OP.OP_PUSHDATA1 && longer !== undefined && longer >= 76 && longer <= 80 && script.length === 3 + longer
}

/** Whether a script is one of the forms that shutdown allows. */
export const isShutdownScript = (script: Uint8Array, forms: ScriptForms): boolean => {
  const program = witnessProgram(script)
  if (program !== undefined)
    return program.version === 0 ? program.program.length === 20 || program.program.length === 32 : forms.anySegwit
  return forms.simpleClose && isDataOutput(script)
}
