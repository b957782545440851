/** The descriptor of a script, as far as what is known of it reaches. Bitcoin Core script/descriptor.cpp, InferDescriptor. */
import { bytesToHex } from '@leyden/codec'
import { hash160, isValidPublicKey, isValidXOnly, pointFromXOnly, ripemd160 } from '@leyden/crypto'
import { encodeAddress } from '../address.ts'
import type { Network } from '../networks.ts'
import { OP } from '../opcode.ts'
import { classifyScript, decodeScriptNum, parseScript } from '../script.ts'
import { TAPSCRIPT_LEAF_VERSION, type TapTree } from '../taproot.ts'
import { pathText } from './extended-key.ts'
import type { Knowledge } from './expand.ts'

type Place = 'top' | 'sh' | 'wsh' | 'tr'

/** The key with its origin, as an expression. */
const describeKey = (point: Uint8Array, place: Place, { keys }: Knowledge): string | undefined => {
  if (!isValidPublicKey(point) || (point.length === 65 && point[0] !== 4)) return undefined
  if (point.length !== 33 && place !== 'top' && place !== 'sh') return undefined
  const known = keys.get(bytesToHex(hash160(point)))
  const origin = known === undefined ? '' : `[${bytesToHex(known.origin.fingerprint)}${pathText(known.origin.path)}]`
  return origin + bytesToHex(point)
}

const describeXOnly = (xOnly: Uint8Array, { keys }: Knowledge): string | undefined => {
  if (!isValidXOnly(xOnly)) return undefined
  const even = pointFromXOnly(xOnly)
  const odd = Uint8Array.of(3, ...xOnly)
  const known = keys.get(bytesToHex(hash160(even))) ?? keys.get(bytesToHex(hash160(odd)))
  const origin = known === undefined ? '' : `[${bytesToHex(known.origin.fingerprint)}${pathText(known.origin.path)}]`
  return origin + bytesToHex(xOnly)
}

const describeLeaf = (script: Uint8Array, knowledge: Knowledge): string | undefined => {
  let items
  try {
    items = parseScript(script)
  } catch {
    return undefined
  }
  const [key, check] = items
  if (items.length === 2 && key?.data?.length === 32 && check?.opcode === OP.OP_CHECKSIG) {
    const text = describeXOnly(key.data, knowledge)
    return text === undefined ? undefined : `pk(${text})`
  }
  if (items.length < 4 || items.length % 2 !== 0 || items.at(-1)?.opcode !== OP.OP_NUMEQUAL) return undefined
  const keys: string[] = []
  for (let i = 0; i + 2 < items.length; i += 2) {
    const data = items[i]?.data
    const wanted = i === 0 ? OP.OP_CHECKSIG : OP.OP_CHECKSIGADD
    const text = data?.length === 32 && items[i + 1]?.opcode === wanted ? describeXOnly(data, knowledge) : undefined
    if (text === undefined) return undefined
    keys.push(text)
  }
  const last = items.at(-2)
  const opcode = last?.opcode ?? 0
  const threshold =
    opcode >= OP.OP_1 && opcode <= OP.OP_16 ? opcode - OP.OP_1 + 1 : last?.data === undefined ? 0 : decodeScriptNum(last.data)
  return threshold < 1 || threshold > keys.length ? undefined : `multi_a(${[threshold, ...keys].join(',')})`
}

const describeTree = (tree: TapTree, knowledge: Knowledge): string | undefined => {
  if ('script' in tree) {
    const version = tree.leafVersion ?? TAPSCRIPT_LEAF_VERSION
    return version === TAPSCRIPT_LEAF_VERSION ? describeLeaf(tree.script, knowledge) : undefined
  }
  const [left, right] = [describeTree(tree[0], knowledge), describeTree(tree[1], knowledge)]
  return left === undefined || right === undefined ? undefined : `{${left},${right}}`
}

const describeTaproot = (outputKey: Uint8Array, knowledge: Knowledge): string | undefined => {
  const known = knowledge.taproots.get(bytesToHex(outputKey))
  const internal = known === undefined ? undefined : describeXOnly(known.internalKey, knowledge)
  if (known !== undefined && internal !== undefined) {
    if (known.tree === undefined) return `tr(${internal})`
    const tree = describeTree(known.tree, knowledge)
    if (tree !== undefined) return `tr(${internal},${tree})`
  }
  const key = describeXOnly(outputKey, knowledge)
  return key === undefined ? undefined : `rawtr(${key})`
}

const describeIn = (script: Uint8Array, place: Place, knowledge: Knowledge): string | undefined => {
  const form = classifyScript(script)
  const wrapped = (name: string, key: string | undefined): string | undefined =>
    key === undefined ? undefined : `${name}(${key})`
  const pointOf = (hash: Uint8Array): Uint8Array | undefined => knowledge.keys.get(bytesToHex(hash))?.point
  const inside = (name: 'sh' | 'wsh', hash: Uint8Array): string | undefined => {
    const inner = knowledge.scripts.get(bytesToHex(hash))
    return wrapped(name, inner === undefined ? undefined : describeIn(inner, name, knowledge))
  }
  switch (form.type) {
    case 'p2pk':
      return wrapped('pk', describeKey(form.point, place, knowledge))
    case 'p2pkh': {
      const point = pointOf(form.hash)
      return point === undefined ? undefined : wrapped('pkh', describeKey(point, place, knowledge))
    }
    case 'p2wpkh': {
      const point = place === 'wsh' ? undefined : pointOf(form.hash)
      return point === undefined ? undefined : wrapped('wpkh', describeKey(point, 'wsh', knowledge))
    }
    case 'multisig': {
      const keys = form.points.map((point) => describeKey(point, place, knowledge))
      return keys.includes(undefined) ? undefined : `multi(${[form.required, ...keys].join(',')})`
    }
    case 'p2sh':
      return place === 'top' ? inside('sh', form.hash) : undefined
    case 'p2wsh':
      return place === 'wsh' ? undefined : inside('wsh', ripemd160(form.hash))
    case 'p2tr':
      return place === 'top' ? describeTaproot(form.outputKey, knowledge) : undefined
    default:
      return undefined
  }
}

/** Its text without checksum; the address or the bytes where nothing else is known. */
export const inferDescriptor = (script: Uint8Array, network: Network, knowledge: Knowledge): string => {
  const found = describeIn(script, 'top', knowledge)
  if (found !== undefined) return found
  const address = encodeAddress(script, network)
  return address === undefined ? `raw(${bytesToHex(script)})` : `addr(${address})`
}
