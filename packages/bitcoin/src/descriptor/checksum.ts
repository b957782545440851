/** The eight characters behind `#` of an output descriptor. BIP 380 § Checksum. */
const INPUT_CHARS = '0123456789()[],\'/*abcdefgh@:$%{}IJKLMNOPQRSTUVWXYZ&+-.;<=>?!^_|~ijklmnopqrstuvwxyzABCDEFGH`#"\\ '
const CHECKSUM_CHARS = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const GENERATOR = [0xf5dee51989n, 0xa9fdca3312n, 0x1bab10e32dn, 0x3706b1677an, 0x644d626ffdn]

const polymod = (checksum: bigint, value: number): bigint => {
  const top = checksum >> 35n
  let next = ((checksum & 0x7ffffffffn) << 5n) ^ BigInt(value)
  GENERATOR.forEach((generator, i) => {
    if (((top >> BigInt(i)) & 1n) === 1n) next ^= generator
  })
  return next
}

/** Undefined when the text has a character that no descriptor has. */
export const descriptorChecksum = (text: string): string | undefined => {
  let checksum = 1n
  let group = 0
  let count = 0
  for (const char of text) {
    const position = INPUT_CHARS.indexOf(char)
    if (position < 0) return undefined
    checksum = polymod(checksum, position & 31)
    group = group * 3 + (position >> 5)
    if (++count === 3) {
      checksum = polymod(checksum, group)
      group = 0
      count = 0
    }
  }
  if (count > 0) checksum = polymod(checksum, group)
  for (let i = 0; i < 8; i++) checksum = polymod(checksum, 0)
  checksum ^= 1n
  return Array.from({ length: 8 }, (_, i) => CHECKSUM_CHARS[Number((checksum >> BigInt(5 * (7 - i))) & 31n)]).join('')
}

/** The descriptor with its checksum; the text has only characters of descriptors. */
export const withChecksum = (text: string): string => `${text}#${descriptorChecksum(text)}`
