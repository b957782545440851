/**
 * JSON as Bitcoin Core prints it: amounts are numbers with eight decimals in the text (0.00001000, never 1e-5), so that callers which
 * read decimal text, not doubles, get every digit. Bitcoin Core core_write.cpp, ValueFromAmount.
 */

/** A number whose digits are the text given. */
export class NumberText {
  readonly text: string
  constructor(text: string) {
    this.text = text
  }
}

export type Json = null | boolean | number | string | NumberText | readonly Json[] | { readonly [name: string]: Json }

/** Satoshi as the number of bitcoins that JSON-RPC speaks. */
export const btc = (sat: bigint): NumberText => {
  const digits = (sat < 0n ? -sat : sat).toString().padStart(9, '0')
  return new NumberText(`${sat < 0n ? '-' : ''}${digits.slice(0, -8)}.${digits.slice(-8)}`)
}

export const jsonText = (value: Json): string => {
  if (value instanceof NumberText) return value.text
  if (Array.isArray(value)) return `[${(value as readonly Json[]).map(jsonText).join(',')}]`
  if (typeof value !== 'object' || value === null) return JSON.stringify(value)
  const fields = Object.entries(value).map(([name, field]) => `${JSON.stringify(name)}:${jsonText(field)}`)
  return `{${fields.join(',')}}`
}
