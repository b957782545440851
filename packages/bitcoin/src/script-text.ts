/**
 * Scripts as text. scriptToText is the `asm` of Bitcoin Core's RPC; scriptFromText reads the notation of its tests and of bitcoin-tx:
 * words between spaces: opcode names with or without OP_, decimal numbers (minimal pushes), 'text' (pushed), 0xhex (raw bytes).
 */
import { bytesToHex, concat, hexToBytes, utf8Encode } from '@leyden/codec'
import { OP } from './opcode.ts'
import { decodeScriptNum, encodeScriptNum, opcodeName, pushBytes, pushMinimal, readOp, type OpCursor } from './script.ts'

const WORDS = new Map<string, number>(
  Object.entries(OP)
    .filter(([, code]) => code >= OP.OP_NOP || code === OP.OP_RESERVED)
    .flatMap(([name, code]) => [[name, code] as const, [name.slice(3), code] as const]),
)
WORDS.set('NOP2', OP.OP_CHECKLOCKTIMEVERIFY)
WORDS.set('NOP3', OP.OP_CHECKSEQUENCEVERIFY)

const pushNumber = (n: number): Uint8Array => pushMinimal(encodeScriptNum(n))

/** Bytes of a script in words. Throws RangeError on a word that means nothing. */
export const scriptFromText = (text: string): Uint8Array =>
  concat(
    ...text
      .split(/\s+/)
      .filter((word) => word !== '')
      .map((word) => {
        if (/^-?\d+$/.test(word)) return pushNumber(Number(word))
        if (/^0x(?:[0-9a-f]{2})+$/i.test(word)) return hexToBytes(word.slice(2).toLowerCase())
        if (/^'.*'$/.test(word)) return pushBytes(utf8Encode(word.slice(1, -1)))
        const opcode = WORDS.get(word)
        if (opcode === undefined) throw new RangeError(`unknown word in script: ${word}`)
        return Uint8Array.of(opcode)
      }),
  )

/** Pushes up to four bytes show as numbers, longer ones as hex, `[error]` stands where the script is malformed. */
export const scriptToText = (script: Uint8Array): string => {
  const words: string[] = []
  const op: OpCursor = { opcode: 0, from: 0, to: 0, next: 0 }
  for (let at = 0; at < script.length; at = op.next) {
    if (!readOp(script, at, op)) return [...words, '[error]'].join(' ')
    const data = script.subarray(op.from, op.to)
    if (op.opcode > OP.OP_PUSHDATA4) words.push(shortName(op.opcode))
    else words.push(data.length <= 4 ? String(decodeScriptNum(data, 4, false)) : bytesToHex(data))
  }
  return words.join(' ')
}

const shortName = (opcode: number): string => {
  if (opcode === OP.OP_1NEGATE) return '-1'
  if (opcode >= OP.OP_1 && opcode <= OP.OP_16) return String(opcode - OP.OP_1 + 1)
  return opcodeName(opcode)
}
