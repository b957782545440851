/** Names that a JSON object has twice: JavaScript's reader keeps the last of them and says nothing. */

/**
 * The first name that stands twice in one object among those that are reached by `path` from the top ([]: the top itself). The text is
 * JSON. Undefined when there is none.
 */
export const duplicateName = (json: string, path: readonly string[]): string | undefined => {
  type Level = { readonly name: string | undefined; readonly seen: Set<string> | undefined }
  const levels: Level[] = []
  let key: string | undefined
  const isWanted = (): boolean => levels.length === path.length + 1 && path.every((name, i) => levels[i + 1]?.name === name)
  for (const [token, text, colon] of json.matchAll(/("(?:[^"\\]|\\.)*")(\s*:)?|[{}[\]]/g)) {
    if (token === '{') levels.push({ name: key, seen: new Set() })
    else if (token === '[') levels.push({ name: undefined, seen: undefined })
    else if (token === '}' || token === ']') levels.pop()
    else if (text !== undefined && colon !== undefined) {
      key = JSON.parse(text) as string
      const seen = isWanted() ? levels.at(-1)?.seen : undefined
      if (seen?.has(key) === true) return key
      seen?.add(key)
    }
  }
  return undefined
}
