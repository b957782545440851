/** Comparison of secrets: tags, macs, preimages. */

/** Whether both hold the same bytes. The time taken tells the length only, not where they differ. */
export const equalConstantTime = (a: Uint8Array, b: Uint8Array): boolean => {
  if (a.length !== b.length) return false
  let difference = 0
  for (let i = 0; i < a.length; i++) difference |= (a[i] as number) ^ (b[i] as number)
  return difference === 0
}
