/** Names that a JSON object has twice: JavaScript's reader keeps the last of them and says nothing. */

type Level = {
  /** Its name in the object that it stands in, or its place in the list. */
  readonly name: string | undefined
  /** Names of an object; a list has none. */
  readonly seen: Set<string> | undefined
  key: string | undefined
  index: number
}

/** Where the string that begins at a quote ends, behind its last quote. Strings may have many megabytes: no expression reads them. */
const stringEnd = (json: string, start: number): number => {
  let end = start
  for (;;) {
    end = json.indexOf('"', end + 1)
    if (end < 0) return json.length
    let backslashes = 0
    while (json[end - 1 - backslashes] === '\\') backslashes++
    if (backslashes % 2 === 0) return end + 1
  }
}

/**
 * The first name that stands twice in the object that `path` (names, and places in lists) leads to from the top ([]: the top itself).
 * The text is JSON. Undefined when there is none.
 */
export const duplicateName = (json: string, path: readonly string[]): string | undefined => {
  const levels: Level[] = []
  const isWanted = (): boolean => levels.length === path.length + 1 && path.every((name, i) => levels[i + 1]?.name === name)
  const open = (seen: Set<string> | undefined): void => {
    const outer = levels.at(-1)
    levels.push({ name: outer?.seen === undefined ? String(outer?.index ?? 0) : outer.key, seen, key: undefined, index: 0 })
  }
  for (let at = 0; at < json.length; at++) {
    const char = json[at]
    const level = levels.at(-1)
    if (char === '{') open(new Set())
    else if (char === '[') open(undefined)
    else if (char === '}' || char === ']') levels.pop()
    else if (char === ',') {
      if (level !== undefined) level.index++
    } else if (char === '"') {
      const end = stringEnd(json, at)
      const after = json.slice(end, end + 64).trimStart()
      if (after.startsWith(':') && level !== undefined) {
        level.key = JSON.parse(json.slice(at, end)) as string
        const seen = isWanted() ? level.seen : undefined
        if (seen?.has(level.key) === true) return level.key
        seen?.add(level.key)
      }
      at = end - 1
    }
  }
  return undefined
}
