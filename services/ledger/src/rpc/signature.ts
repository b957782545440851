/**
 * How a call is called: the number and JSON types of its arguments, by position or by name, and its line and text in `help`.
 * Bitcoin Core rpc/util.cpp, RPCHelpMan; rpc/server.cpp, transformNamedArguments.
 */
import { Arguments, kindOf, RPC, RpcError } from './call.ts'
import type { Json } from './json-text.ts'
import type { Method } from './method.ts'
import { SIGNATURES } from './signatures.ts'

export type Category = 'blockchain' | 'control' | 'mining' | 'network' | 'rawtransactions' | 'util' | 'zmq' | 'hidden'

type Parameter = {
  readonly names: readonly string[]
  readonly type: string
  readonly optional: boolean
  /** Given by name only, in the object that follows. */
  readonly namedOnly: boolean
  readonly fallback: string | undefined
}

export type Signature = {
  readonly name: string
  readonly category: Category
  readonly usage: string
  readonly parameters: readonly Parameter[]
  readonly about: string
}

const parseParameter = (text: string): Parameter => {
  const match = /^(\.?)([^?:=]+)(\??):([^=]+)(?:=(.*))?$/.exec(text)
  if (match === null) throw new Error(`not a parameter: ${text}`)
  const [, dot, names, mark, type, fallback] = match as unknown as [string, string, string, string, string, string | undefined]
  return { names: names.split('|'), type, optional: mark === '?', namedOnly: dot === '.', fallback }
}

const KNOWN = new Map(
  Object.entries(SIGNATURES).flatMap(([category, calls]) =>
    Object.entries(calls).map(([name, [usage, params]]) => [name, { category: category as Category, usage, params }] as const),
  ),
)

/** Of a call: bitcoind's where it has one, else arguments of these names, of any type where none is given. */
export const signatureOf = (name: string, { params, about }: Method): Signature => {
  const known = KNOWN.get(name)
  if (known === undefined) {
    const own = params.map((param) => parseParameter(param.includes(':') ? param : `${param}?:any`))
    const usage = own.map(({ names, optional }) => (optional ? `( ${names[0]} )` : `"${names[0]}"`)).join(' ')
    return { name, category: 'hidden', usage, parameters: own, about }
  }
  const parameters = known.params.split(' ').filter((text) => text !== '')
  return { name, category: known.category, usage: known.usage, parameters: parameters.map(parseParameter), about }
}

/** The first line of its help. */
export const usageOf = ({ name, usage }: Signature): string => (usage === '' ? name : `${name} ${usage}`)

const TYPE_NAMES: Readonly<Record<string, string>> = {
  string: 'string',
  bool: 'boolean',
  number: 'numeric',
  array: 'json array',
  object: 'json object',
  range: 'numeric or array',
  amount: 'numeric or string',
  any: 'any',
}

const positional = ({ parameters }: Signature): readonly Parameter[] => parameters.filter(({ namedOnly }) => !namedOnly)

/** Its help: what bitcoind's tells of the arguments, and our words. */
export const helpOf = (signature: Signature): string => {
  const lines = positional(signature).map(({ names, type, optional, fallback }, at) => {
    const need = optional ? `, optional${fallback === undefined ? '' : `, default=${fallback}`}` : ', required'
    return `${at + 1}. ${names[0]}    (${TYPE_NAMES[type] ?? type}${need})`
  })
  const list = lines.length === 0 ? '' : `\n\nArguments:\n${lines.join('\n')}`
  return `${usageOf(signature)}\n\n${signature.about}${list}\n`
}

/** Rows of `help dump_all_command_conversions`: call, position, name, and whether it is plain text for a command line. */
export const conversionsOf = (signature: Signature): readonly Json[] => {
  let at = 0
  return signature.parameters.flatMap(({ names, type, namedOnly }) => {
    const position = namedOnly ? at : at++
    return names.map((name) => [signature.name, position, name, type === 'string'])
  })
}

const matches = (type: string, value: unknown): string | undefined => {
  const expected =
    type === 'string' || type === 'bool' || type === 'number' || type === 'array' || type === 'object' ? type : undefined
  const got = kindOf(value)
  return expected === undefined || got === expected ? undefined : `JSON value of type ${got} is not of expected type ${expected}`
}

const hasTwice = (name: string): RpcError => new RpcError(RPC.invalidParameter, `Parameter ${name} specified multiple times`)

const byName = (signature: Signature, params: Readonly<Record<string, unknown>>): readonly unknown[] => {
  const left = new Map(Object.entries(params))
  const values: unknown[] = []
  let options: Record<string, unknown> = {}
  let hole = 0
  let initialHole = 0
  let initial: string | undefined
  for (const { names, namedOnly } of signature.parameters) {
    const name = names.find((one) => left.has(one))
    const value = name === undefined ? undefined : left.get(name)
    if (name !== undefined) left.delete(name)
    if (namedOnly) {
      if (name !== undefined) {
        if (Object.hasOwn(options, name)) throw hasTwice(name)
        options[name] = value
      }
      continue
    }
    const optionNames = Object.keys(options)
    if (name === undefined && optionNames.length === 0) {
      hole++
      if (values.length === 0) initialHole = hole
      continue
    }
    for (; hole > 0; hole--) values.push(null)
    initial ??= names.join('|')
    if (name !== undefined && optionNames.length > 0)
      throw new RpcError(RPC.invalidParameter, `Parameter ${name} conflicts with parameter ${optionNames[0]}`)
    values.push(name === undefined ? options : value)
    options = {}
  }
  const leading = left.get('args')
  let result: readonly unknown[] = values
  if (Array.isArray(leading)) {
    left.delete('args')
    if (initialHole < leading.length && initial !== undefined)
      throw new RpcError(RPC.invalidParameter, `Parameter ${initial} specified twice both as positional and named argument`)
    result = [...(leading as unknown[]), ...values.slice(leading.length)]
  }
  const [unknown] = left.keys()
  if (unknown !== undefined) throw new RpcError(RPC.invalidParameter, `Unknown named parameter ${unknown.slice(0, 100)}`)
  return result
}

/** The arguments of a call, checked. Throws what bitcoind answers. */
export const argumentsOf = (signature: Signature, params: unknown): Arguments => {
  const values: readonly unknown[] =
    params === undefined || params === null
      ? []
      : Array.isArray(params)
        ? params
        : byName(signature, params as Record<string, unknown>)
  const parameters = positional(signature)
  const required = parameters.findLastIndex(({ optional }) => !optional) + 1
  if (values.length < required || values.length > parameters.length) throw new RpcError(RPC.misc, helpOf(signature))
  const wrong = parameters.flatMap(({ names, type, optional }, at) => {
    const value = values[at]
    const problem = optional && (value === undefined || value === null) ? undefined : matches(type, value)
    return problem === undefined ? [] : [`    "Position ${at + 1} (${names.join('|')})": ${JSON.stringify(problem)}`]
  })
  if (wrong.length > 0) throw new RpcError(RPC.type, `Wrong type passed:\n{\n${wrong.join(',\n')}\n}`)
  return new Arguments(
    values,
    parameters.map(({ names }) => names.join('|')),
    helpOf(signature),
  )
}
