/**
 * Output descriptors as trees: reading them, and their text. BIP 380 to 386 (pk, pkh, wpkh, sh, wsh, multi, sortedmulti, tr, multi_a,
 * sortedmulti_a, rawtr, combo, addr, raw). What scripts they make is expand.ts. Miniscript is not here.
 * The sentences of refusals are Bitcoin Core's (script/descriptor.cpp).
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { decodeAddress, encodeAddress, isAddressProblem } from '../address.ts'
import type { Network } from '../networks.ts'
import { MAX_PUBKEYS_PER_MULTISIG, MAX_SCRIPT_ELEMENT_SIZE } from '../script.ts'
import { descriptorChecksum } from './checksum.ts'
import {
  DescriptorError,
  isPrivateKey,
  isRangedKey,
  keyLength,
  keyText,
  parseKeyExpression,
  type KeyExpression,
} from './key-expression.ts'

export type Descriptor =
  | { readonly type: 'pk' | 'pkh' | 'wpkh' | 'combo' | 'rawtr'; readonly key: KeyExpression }
  | {
      readonly type: 'multi' | 'multi_a'
      readonly sorted: boolean
      readonly threshold: number
      readonly keys: readonly KeyExpression[]
    }
  | { readonly type: 'sh' | 'wsh'; readonly inner: Descriptor }
  | { readonly type: 'tr'; readonly key: KeyExpression; readonly tree: DescriptorTree | undefined }
  | { readonly type: 'addr' | 'raw'; readonly script: Uint8Array }
export type DescriptorTree = Descriptor | readonly [DescriptorTree, DescriptorTree]

const isBranch = (tree: DescriptorTree): tree is readonly [DescriptorTree, DescriptorTree] => Array.isArray(tree)

type Context = 'top' | 'sh' | 'wpkh' | 'wsh' | 'tr'

/** BIP 387. */
const MAX_PUBKEYS_PER_MULTI_A = 999
/** BIP 341: a path has at most so many hashes. */
const MAX_TREE_DEPTH = 128

/** The text up to a comma or a closing bracket that is not inside brackets. */
const expression = (text: string): string => {
  let level = 0
  for (let i = 0; i < text.length; i++) {
    const char = text[i] as string
    if (char === '(' || char === '{') level++
    else if (level > 0 && (char === ')' || char === '}')) level--
    else if (level === 0 && (char === ')' || char === '}' || char === ',')) return text.slice(0, i)
  }
  return text
}

const fail = (message: string): never => {
  throw new DescriptorError(message)
}

const within = <T>(where: string, parse: () => T): T => {
  try {
    return parse()
  } catch (error) {
    if (error instanceof DescriptorError) return fail(`${where}: ${error.message}`)
    throw error
  }
}

const parseMulti = (name: string, text: string, context: Context, network: Network): Descriptor => {
  const isTap = name.endsWith('_a')
  const first = expression(text)
  if (!/^\d{1,10}$/.test(first) || Number(first) > 0xffff_ffff) fail(`Multi threshold '${first}' is not valid`)
  const threshold = Number(first)
  const keys: KeyExpression[] = []
  let rest = text.slice(first.length)
  while (rest !== '') {
    if (!rest.startsWith(',')) fail(`Multi: expected ',', got '${rest[0]}'`)
    const arg = expression(rest.slice(1))
    keys.push(within('Multi', () => parseKey(arg, context, network)))
    rest = rest.slice(1 + arg.length)
  }
  const most = isTap ? MAX_PUBKEYS_PER_MULTI_A : MAX_PUBKEYS_PER_MULTISIG
  if (keys.length === 0 || keys.length > most)
    fail(`Cannot have ${keys.length} keys in ${isTap ? 'multi_a' : 'multisig'}; must have between 1 and ${most} keys, inclusive`)
  if (threshold < 1) fail(`Multisig threshold cannot be ${threshold}, must be at least 1`)
  if (threshold > keys.length)
    fail(
      `Multisig threshold cannot be larger than the number of keys; threshold is ${threshold} but only ${keys.length} keys specified`,
    )
  if (context === 'top' && keys.length > 3) fail(`Cannot have ${keys.length} pubkeys in bare multisig; only at most 3 pubkeys`)
  const size = keys.reduce((sum, key) => sum + keyLength(key) + 1, 3)
  if (context === 'sh' && size > MAX_SCRIPT_ELEMENT_SIZE)
    fail(`P2SH script is too large, ${size} bytes is larger than ${MAX_SCRIPT_ELEMENT_SIZE} bytes`)
  return { type: isTap ? 'multi_a' : 'multi', sorted: name.startsWith('sorted'), threshold, keys }
}

const parseKey = (text: string, context: Context, network: Network): KeyExpression =>
  parseKeyExpression(text, { network, taproot: context === 'tr', uncompressed: context === 'top' || context === 'sh' })

/** A tree of scripts, and the text behind it. */
const parseTree = (text: string, depth: number, network: Network): readonly [DescriptorTree, string] => {
  if (!text.startsWith('{')) {
    const leaf = expression(text)
    return [parseScript(leaf, 'tr', network), text.slice(leaf.length)]
  }
  if (depth >= MAX_TREE_DEPTH) fail(`tr() supports at most ${MAX_TREE_DEPTH} nesting levels`)
  const [left, afterLeft] = parseTree(text.slice(1), depth + 1, network)
  if (!afterLeft.startsWith(',')) fail("tr(): expected ',' after script expression")
  const [right, afterRight] = parseTree(afterLeft.slice(1), depth + 1, network)
  if (!afterRight.startsWith('}')) fail("tr(): expected '}' after script expression")
  return [[left, right], afterRight.slice(1)]
}

const parseTaproot = (text: string, network: Network): Descriptor => {
  const first = expression(text)
  const key = within('tr()', () => parseKey(first, 'tr', network))
  const rest = text.slice(first.length)
  if (rest === '') return { type: 'tr', key, tree: undefined }
  if (!rest.startsWith(',')) fail(`tr: expected ',', got '${rest[0]}'`)
  const [tree, after] = parseTree(rest.slice(1), 0, network)
  if (after !== '') fail("tr(): expected ')' after script expression")
  return { type: 'tr', key, tree }
}

const PLACES: Readonly<Record<string, readonly [contexts: readonly Context[], refusal: string]>> = {
  pkh: [['top', 'sh', 'wsh'], 'Can only have pkh at top level, in sh(), wsh(), or in tr()'],
  combo: [['top'], 'Can only have combo() at top level'],
  multi: [['top', 'sh', 'wsh'], 'Can only have multi/sortedmulti at top level, in sh(), or in wsh()'],
  sortedmulti: [['top', 'sh', 'wsh'], 'Can only have multi/sortedmulti at top level, in sh(), or in wsh()'],
  multi_a: [['tr'], 'Can only have multi_a/sortedmulti_a inside tr()'],
  sortedmulti_a: [['tr'], 'Can only have multi_a/sortedmulti_a inside tr()'],
  wpkh: [['top', 'sh'], 'Can only have wpkh() at top level or inside sh()'],
  sh: [['top'], 'Can only have sh() at top level'],
  wsh: [['top', 'sh'], 'Can only have wsh() at top level or inside sh()'],
  addr: [['top'], 'Can only have addr() at top level'],
  tr: [['top'], 'Can only have tr at top level'],
  rawtr: [['top'], 'Can only have rawtr at top level'],
  raw: [['top'], 'Can only have raw() at top level'],
}

const parseScript = (text: string, context: Context, network: Network): Descriptor => {
  const [, name = '', inside = ''] = /^([a-z_]+)\((.*)\)$/s.exec(text) ?? []
  const [contexts, refusal] = Object.hasOwn(PLACES, name) ? (PLACES[name] as (typeof PLACES)[string]) : [[context], '']
  if (name !== 'pkh' || context !== 'tr') if (!contexts.includes(context)) fail(refusal)
  switch (name) {
    case 'pk':
    case 'combo':
      return { type: name, key: within(`${name}()`, () => parseKey(inside, context, network)) }
    case 'pkh':
      if (context === 'tr') break
      return { type: name, key: within('pkh()', () => parseKey(inside, context, network)) }
    case 'wpkh':
      return { type: name, key: within('wpkh()', () => parseKey(inside, 'wpkh', network)) }
    case 'multi':
    case 'sortedmulti':
    case 'multi_a':
    case 'sortedmulti_a':
      return parseMulti(name, inside, context, network)
    case 'sh':
    case 'wsh':
      return { type: name, inner: parseScript(inside, name, network) }
    case 'tr':
      return parseTaproot(inside, network)
    case 'rawtr':
      if (expression(inside) !== inside) fail('rawtr(): only one key expected.')
      return { type: name, key: parseKey(inside, 'tr', network) }
    case 'addr': {
      const script = decodeAddress(inside, network)
      if (isAddressProblem(script)) return fail('Address is not valid')
      return { type: name, script }
    }
    case 'raw':
      if (!/^(?:[0-9a-fA-F]{2})+$/.test(inside)) fail('Raw script is not hex')
      return { type: name, script: hexToBytes(inside.toLowerCase()) }
    default:
  }
  if (context === 'sh') fail('A function is needed within P2SH')
  if (context === 'wsh') fail('A function is needed within P2WSH')
  return fail(`'${text}' is not a valid descriptor function`)
}

export type ParsedDescriptor = { readonly descriptor: Descriptor; /** Of the text as given. */ readonly checksum: string }

/** Reads a text with or without checksum. Throws {@link DescriptorError} with what Bitcoin Core says. */
export const parseDescriptor = (given: string, network: Network, checksumRequired = false): ParsedDescriptor => {
  const [text = '', stated, more] = given.split('#')
  if (more !== undefined) fail("Multiple '#' symbols")
  if (stated === undefined && checksumRequired) fail('Missing checksum')
  if (stated !== undefined && stated.length !== 8) fail(`Expected 8 character checksum, not ${stated.length} characters`)
  const checksum = descriptorChecksum(text) ?? fail('Invalid characters in payload')
  if (stated !== undefined && stated !== checksum)
    fail(`Provided checksum '${stated}' does not match computed checksum '${checksum}'`)
  return { descriptor: parseScript(text, 'top', network), checksum }
}

const treeText = (tree: DescriptorTree, network: Network): string =>
  isBranch(tree) ? `{${treeText(tree[0], network)},${treeText(tree[1], network)}}` : descriptorText(tree, network)

/** Its text without checksum and without anything private. */
export const descriptorText = (descriptor: Descriptor, network: Network): string => {
  switch (descriptor.type) {
    case 'multi':
    case 'multi_a': {
      const { sorted, type, threshold, keys } = descriptor
      return `${sorted ? 'sorted' : ''}${type}(${[threshold, ...keys.map((key) => keyText(key, network))].join(',')})`
    }
    case 'sh':
    case 'wsh':
      return `${descriptor.type}(${descriptorText(descriptor.inner, network)})`
    case 'tr': {
      const { key, tree } = descriptor
      return `tr(${keyText(key, network)}${tree === undefined ? '' : `,${treeText(tree, network)}`})`
    }
    case 'addr':
      return `addr(${encodeAddress(descriptor.script, network)})`
    case 'raw':
      return `raw(${bytesToHex(descriptor.script)})`
    default:
      return `${descriptor.type}(${keyText(descriptor.key, network)})`
  }
}

const treeKeys = (tree: DescriptorTree): readonly KeyExpression[] =>
  isBranch(tree) ? [...treeKeys(tree[0]), ...treeKeys(tree[1])] : descriptorKeys(tree)

/** Every key expression in it. */
const descriptorKeys = (descriptor: Descriptor): readonly KeyExpression[] => {
  switch (descriptor.type) {
    case 'multi':
    case 'multi_a':
      return descriptor.keys
    case 'sh':
    case 'wsh':
      return descriptorKeys(descriptor.inner)
    case 'tr':
      return [descriptor.key, ...(descriptor.tree === undefined ? [] : treeKeys(descriptor.tree))]
    case 'addr':
    case 'raw':
      return []
    default:
      return [descriptor.key]
  }
}

/** Whether it makes a script for each position. */
export const isRanged = (descriptor: Descriptor): boolean => descriptorKeys(descriptor).some(isRangedKey)
export const hasPrivateKeys = (descriptor: Descriptor): boolean => descriptorKeys(descriptor).some(isPrivateKey)
/** Whether it says how its scripts are spent. */
export const isSolvable = ({ type }: Descriptor): boolean => type !== 'addr' && type !== 'raw'
