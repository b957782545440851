/** Names that a JSON object has twice: JavaScript's reader keeps the last of them and says nothing. */

type Level = {
  /** Its name in the object that it stands in, or its place in the list. */
  readonly name: string | undefined
  /** Names of an object; a list has none. */
  readonly seen: Set<string> | undefined
  key: string | undefined
  index: number
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
  for (const [token, text, colon] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\],]/g)) {
    const level = levels.at(-1)
    if (token === '{') open(new Set())
    else if (token === '[') open(undefined)
    else if (token === '}' || token === ']') levels.pop()
    else if (token === ',') {
      if (level !== undefined) level.index++
    } else if (text !== undefined && colon !== undefined && level !== undefined) {
      level.key = JSON.parse(text) as string
      const seen = isWanted() ? level.seen : undefined
      if (seen?.has(level.key) === true) return level.key
      seen?.add(level.key)
    }
  }
  return undefined
}
