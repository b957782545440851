/** The scripts that a descriptor makes at a position, and what is known with them: keys and their origins, inner scripts, trees. */
import { bytesToHex, compareBytes, unreachable } from '@leyden/codec'
import { hash160, xOnlyFromPoint } from '@leyden/crypto'
import { OP } from '../opcode.ts'
import { buildScript, multisigScript, p2pkhOf, p2shOf, p2tr, p2wpkhOf, p2wshOf } from '../script.ts'
import { taprootOutput, type TapTree } from '../taproot.ts'
import type { Descriptor, DescriptorTree } from './descriptor.ts'
import { keyAt, type DerivedKey, type KeyExpression } from './key-expression.ts'

/** A taproot output that is known from inside. `internalKey` is x-only. */
export type KnownTaproot = { readonly internalKey: Uint8Array; readonly tree: TapTree | undefined }

/** What somebody knows of scripts: whoever spends or describes them asks here. Keys of the maps are hex. */
export type Knowledge = {
  /** By hash160 of the key; x-only keys stand with both of theirs. */
  readonly keys: Map<string, DerivedKey>
  /** By hash160, as P2SH names them; for a P2WSH that is RIPEMD-160 of its program. */
  readonly scripts: Map<string, Uint8Array>
  /** By output key. */
  readonly taproots: Map<string, KnownTaproot>
}

export const emptyKnowledge = (): Knowledge => ({ keys: new Map(), scripts: new Map(), taproots: new Map() })

/** A key that is known with its secret stays so, whoever names it without. */
const learnKey = ({ keys }: Knowledge, key: DerivedKey): void => {
  const id = bytesToHex(hash160(key.point))
  if (keys.get(id)?.secret === undefined || key.secret !== undefined) keys.set(id, key)
}
const learnScript = ({ scripts }: Knowledge, script: Uint8Array): void => void scripts.set(bytesToHex(hash160(script)), script)

/** BIP 387. */
const multiAScript = (threshold: number, xOnlyKeys: readonly Uint8Array[]): Uint8Array =>
  buildScript(
    ...xOnlyKeys.flatMap((key, i) => [key, i === 0 ? OP.OP_CHECKSIG : OP.OP_CHECKSIGADD]),
    BigInt(threshold),
    OP.OP_NUMEQUAL,
  )

/** The scripts of a key's combo. BIP 384. */
const comboScripts = (point: Uint8Array, knowledge: Knowledge): readonly Uint8Array[] => {
  const scripts = [buildScript(point, OP.OP_CHECKSIG), p2pkhOf(point)]
  if (point.length !== 33) return scripts
  const inner = p2wpkhOf(point)
  learnScript(knowledge, inner)
  return [...scripts, inner, p2shOf(inner)]
}

class NeedsSecret extends Error {}

const expandAt = (descriptor: Descriptor, position: number, knowledge: Knowledge, inTaproot: boolean): readonly Uint8Array[] => {
  const derive = (expression: KeyExpression): Uint8Array => {
    const key = keyAt(expression, position)
    if (key === undefined) throw new NeedsSecret()
    learnKey(knowledge, key)
    return key.point
  }
  const treeOf = (tree: DescriptorTree): TapTree =>
    'type' in tree ? { script: expandAt(tree, position, knowledge, true)[0] as Uint8Array } : [treeOf(tree[0]), treeOf(tree[1])]

  switch (descriptor.type) {
    case 'pk': {
      const point = derive(descriptor.key)
      return [buildScript(inTaproot ? xOnlyFromPoint(point) : point, OP.OP_CHECKSIG)]
    }
    case 'pkh':
      return [p2pkhOf(derive(descriptor.key))]
    case 'wpkh':
      return [p2wpkhOf(derive(descriptor.key))]
    case 'combo':
      return comboScripts(derive(descriptor.key), knowledge)
    case 'rawtr':
      return [p2tr(xOnlyFromPoint(derive(descriptor.key)))]
    case 'multi': {
      const points = descriptor.keys.map(derive)
      return [multisigScript(descriptor.threshold, descriptor.sorted ? points.sort(compareBytes) : points)]
    }
    case 'multi_a': {
      const points = descriptor.keys.map((key) => xOnlyFromPoint(derive(key)))
      return [multiAScript(descriptor.threshold, descriptor.sorted ? points.sort(compareBytes) : points)]
    }
    case 'sh':
    case 'wsh': {
      const [inner] = expandAt(descriptor.inner, position, knowledge, false) as [Uint8Array]
      learnScript(knowledge, inner)
      return [descriptor.type === 'sh' ? p2shOf(inner) : p2wshOf(inner)]
    }
    case 'tr': {
      const internalKey = xOnlyFromPoint(derive(descriptor.key))
      const tree = descriptor.tree === undefined ? undefined : treeOf(descriptor.tree)
      const { scriptPubKey, outputKey } = taprootOutput(internalKey, tree)
      knowledge.taproots.set(bytesToHex(outputKey), { internalKey, tree })
      return [scriptPubKey]
    }
    case 'addr':
    case 'raw':
      return [descriptor.script]
    default:
      return unreachable(descriptor)
  }
}

/** Its scripts at a position, and adds to `knowledge` what they are made of; undefined where hardened steps need a secret. */
export const expandDescriptor = (
  descriptor: Descriptor,
  position: number,
  knowledge: Knowledge,
): readonly Uint8Array[] | undefined => {
  try {
    return expandAt(descriptor, position, knowledge, false)
  } catch (error) {
    if (error instanceof NeedsSecret) return undefined
    throw error
  }
}
