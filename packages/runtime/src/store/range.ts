/** Walking a range of any store in pages, so that no store has to hold a snapshot open between them. */
import type { RangeOptions, Row } from './port.ts'

const PAGE = 256

/** Walks a range page by page, without a snapshot: the next page begins behind the last key of the page before. */
export const walkPages = async function* (
  options: RangeOptions,
  readPage: (options: RangeOptions, limit: number) => readonly Row[] | Promise<readonly Row[]>,
): AsyncGenerator<Row> {
  let left = options.limit ?? Number.POSITIVE_INFINITY
  let rest = options
  while (left > 0) {
    const wanted = Math.min(PAGE, left)
    const rows = await readPage(rest, wanted)
    for (const row of rows) yield row // `yield*` would wait for each of them once more
    left -= rows.length
    const last = rows.at(-1)
    if (last === undefined || rows.length < wanted) return
    rest = options.reverse === true ? { ...rest, lt: last[0] } : { ...rest, gte: successor(last[0]) }
  }
}

/** The least key above `key`. */
const successor = (key: Uint8Array): Uint8Array => {
  const out = new Uint8Array(key.length + 1)
  out.set(key)
  return out
}
