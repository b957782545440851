/** Where the time of a V8 CPU profile went, by part of the project. Native code counts for the JavaScript that called it. */

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string }
    readonly children?: readonly number[]
  }[]
  readonly samples: readonly number[]
  readonly timeDeltas: readonly number[]
  /** ECDSA operations in the time of the profile (profiler.mjs). */
  readonly counted: { readonly signed: number; readonly verified: number }
}

const PARTS: readonly (readonly [part: string, url: RegExp])[] = [
  ['crypto', /\/packages\/crypto\/|\/node_modules\/(@noble|@scure|secp256k1|tiny-secp256k1)\//],
  ['codec', /\/packages\/codec\/|\/node_modules\/(msgpackr|bigint-buffer)\//],
  ['store', /\/packages\/runtime\/src\/(store\/|kind|key)|\/node_modules\/(lmdb|ordered-binary|weak-lru-cache)\//],
  ['drive', /\/packages\/runtime\//],
  ['transactions', /\/packages\/(bitcoin|wallet)\//],
  ['channel', /\/packages\/channel\//],
  ['onion', /\/packages\/onion\//],
  ['payment and routing', /\/packages\/(payment|routing)\//],
  ['wire', /\/packages\/lnwire\/|\/services\/lightning\/src\/(peers|tcp|websocket)/],
  [
    'API',
    /\/packages\/api\/|\/services\/lightning\/src\/(http|wallet-service)|\/node_modules\/(hono|@hono|hono-openapi|zod|@standard-community|ws)\//,
  ],
  ['node', /\/services\/lightning\//],
  ['Node.js', /^node:/],
]

/** Its own cost is taken out. */
const PROFILER = 'profiler'
const partOf = (url: string): string | undefined => PARTS.find(([, pattern]) => pattern.test(url))?.[0]

export interface Shares {
  /** Part -> share of the time that the thread was busy, largest first. */
  readonly parts: readonly (readonly [part: string, share: number])[]
  /** Share of the whole time that it was busy. */
  readonly busy: number
}

export const sharesOf = ({ nodes, samples, timeDeltas }: CpuProfile): Shares => {
  const parent = new Map<number, number>()
  const byId = new Map(nodes.map((node) => [node.id, node]))
  for (const { id, children = [] } of nodes) for (const child of children) parent.set(child, id)
  const known = new Map<number, string>()
  const find = (id: number): string => {
    const found = known.get(id)
    if (found !== undefined) return found
    const { functionName = '', url = '' } = byId.get(id)?.callFrame ?? {}
    const above = parent.get(id)
    const special = /^\((idle|program|garbage collector)\)$/.exec(functionName)?.[1]
    const from = above === undefined ? undefined : find(above)
    const part = from === PROFILER || url.endsWith('/bench/profiler.mjs') ? PROFILER : (special ?? partOf(url) ?? from ?? 'other')
    known.set(id, part)
    return part
  }
  const total = new Map<string, number>()
  for (const [i, id] of samples.entries()) {
    const part = find(id)
    total.set(part, (total.get(part) ?? 0) + (timeDeltas[i] ?? 0))
  }
  total.delete(PROFILER)
  const whole = [...total.values()].reduce((sum, us) => sum + us, 0)
  const idle = total.get('idle') ?? 0
  total.delete('idle')
  const parts = [...total].map(([part, us]) => [part, us / (whole - idle)] as const).toSorted((a, b) => b[1] - a[1])
  return { parts, busy: (whole - idle) / whole }
}
