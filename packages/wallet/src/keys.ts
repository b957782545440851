/**
 * Keys and scripts of one seed. BIP 32, BIP 84 (P2WPKH), BIP 86 (P2TR by key path), account 0 of each.
 * Lightning's secrets come from hardened paths of their own, so that no key that is ever shown or shared leads to them.
 * The holder keeps secrets in its closure and remembers what it derived; what it answers depends on its arguments alone.
 * Children of the last two steps are derived here on the crypto door (BIP 32 § CKDpub and CKDpriv): scanning needs many of them.
 */
import { HDKey } from '@scure/bip32'
import { bigintToBytesBE, bytesToHex, concat } from '@leyden/codec'
import { hmacSha512, pointTweakAdd, secretAdd, taprootTweakPoint, xOnlyFromPoint } from '@leyden/crypto'
import { encodeAddress, p2tr, p2wpkhOf, type Network } from '@leyden/bitcoin'

export type AddressKind = 'p2wpkh' | 'p2tr'

/** A key of ours: m/84' or m/86', coin, account 0, then `change` (0 receives, 1 is change) and `index`. */
export type KeyPath = { readonly kind: AddressKind; readonly change: 0 | 1; readonly index: number }

export const BRANCH_NAMES = ['p2wpkh/0', 'p2wpkh/1', 'p2tr/0', 'p2tr/1'] as const
export type BranchName = (typeof BRANCH_NAMES)[number]
export const branchName = ({ kind, change }: Pick<KeyPath, 'kind' | 'change'>): BranchName => `${kind}/${change}`

/** `next`: the first index never handed out. `used`: one past the highest index that was seen in a transaction. */
export type Branch = { readonly next: number; readonly used: number }
export type Branches = Readonly<Record<BranchName, Branch>>

/** Scripts this far beyond the last known index are watched. BIP 44 § Address gap limit. */
export const GAP_LIMIT = 20

/** The first index of a branch that is neither handed out nor seen. */
export const freshIndex = (branch: Branch): number => Math.max(branch.next, branch.used)

/** What may be asked of a seed. */
export interface WalletKeys {
  readonly network: Network
  /** 32 bytes: the node's identity (BOLT 8). m/9735'/coin'/0'. */
  readonly nodeSecret: Uint8Array
  /** 32 bytes that channels derive their keys from. m/9735'/coin'/1'. */
  readonly channelSeed: Uint8Array
  /** The account's public key, base58 with the network's version bytes. */
  accountPublicKey(kind: AddressKind): string
  scriptPubKey(path: KeyPath): Uint8Array
  address(path: KeyPath): string
  /** 33 bytes. For P2TR the internal key, before the tweak. */
  point(path: KeyPath): Uint8Array
  /** 32 bytes. For P2TR the internal secret, before the tweak. */
  secret(path: KeyPath): Uint8Array
  /** Whose script it is, within the gap limit of these branches. */
  findPath(scriptPubKey: Uint8Array, branches: Branches): KeyPath | undefined
}

const PURPOSE: Readonly<Record<AddressKind, number>> = { p2wpkh: 84, p2tr: 86 }

/** A private node, and the children that were asked for. */
type BranchKeys = {
  readonly secret: Uint8Array
  readonly point: Uint8Array
  readonly chainCode: Uint8Array
  readonly points: Uint8Array[]
  readonly scripts: Uint8Array[]
}

const required = (bytes: Uint8Array | null): Uint8Array => {
  if (bytes === null) throw new Error('key of a path is missing')
  return bytes
}

/** BIP 32: the left half of I, which is added to the parent. Invalid with probability below 2^-127: then the crypto door throws. */
const childTweak = (parent: BranchKeys, index: number): Uint8Array => {
  if (!Number.isInteger(index) || index < 0 || index >= 0x8000_0000) throw new RangeError(`key index ${index}`)
  return hmacSha512(parent.chainCode, concat(parent.point, bigintToBytesBE(BigInt(index), 4))).subarray(0, 32)
}

const scriptOf = (kind: AddressKind, point: Uint8Array): Uint8Array =>
  kind === 'p2wpkh' ? p2wpkhOf(point) : p2tr(taprootTweakPoint(xOnlyFromPoint(point)).xonly)

/** Whether a script has the form of ours at all: most of a block's do not get further. */
const hasOurForm = (script: Uint8Array): boolean =>
  (script.length === 22 && script[0] === 0x00 && script[1] === 20) ||
  (script.length === 34 && script[0] === 0x51 && script[1] === 32)

/** The holder of a seed's keys (64 bytes of BIP 39, or 16 to 64 of BIP 32). Throws on another length. */
export const createWalletKeys = (seed: Uint8Array, network: Network): WalletKeys => {
  const root = HDKey.fromMasterSeed(seed, network.bip32)
  const accounts: Readonly<Record<AddressKind, HDKey>> = {
    p2wpkh: root.derive(`m/${PURPOSE.p2wpkh}'/${network.coinType}'/0'`),
    p2tr: root.derive(`m/${PURPOSE.p2tr}'/${network.coinType}'/0'`),
  }
  const hardened = (index: number): Uint8Array => required(root.derive(`m/9735'/${network.coinType}'/${index}'`).privateKey)
  const branchKeys = (kind: AddressKind, change: 0 | 1): BranchKeys => {
    const node = accounts[kind].deriveChild(change)
    return {
      secret: required(node.privateKey),
      point: required(node.publicKey),
      chainCode: required(node.chainCode),
      points: [],
      scripts: [],
    }
  }
  const branches: Readonly<Record<BranchName, BranchKeys>> = {
    'p2wpkh/0': branchKeys('p2wpkh', 0),
    'p2wpkh/1': branchKeys('p2wpkh', 1),
    'p2tr/0': branchKeys('p2tr', 0),
    'p2tr/1': branchKeys('p2tr', 1),
  }
  const paths = new Map<string, KeyPath>()

  const point = (path: KeyPath): Uint8Array => {
    const parent = branches[branchName(path)]
    return (parent.points[path.index] ??= pointTweakAdd(parent.point, childTweak(parent, path.index)))
  }
  const scriptPubKey = (path: KeyPath): Uint8Array => {
    const parent = branches[branchName(path)]
    const known = parent.scripts[path.index]
    if (known !== undefined) return known
    const script = scriptOf(path.kind, point(path))
    parent.scripts[path.index] = script
    paths.set(bytesToHex(script), path)
    return script
  }
  /** How many scripts of a branch are derived without a gap. */
  const derived: Record<BranchName, number> = { 'p2wpkh/0': 0, 'p2wpkh/1': 0, 'p2tr/0': 0, 'p2tr/1': 0 }
  const watch = (name: BranchName, limit: number): void => {
    const [kind, change] = name.split('/') as [AddressKind, string]
    for (; derived[name] < limit; derived[name]++) scriptPubKey({ kind, change: change === '1' ? 1 : 0, index: derived[name] })
  }

  return {
    network,
    nodeSecret: hardened(0),
    channelSeed: hardened(1),
    accountPublicKey: (kind) => accounts[kind].publicExtendedKey,
    scriptPubKey,
    point,
    address(path) {
      const address = encodeAddress(scriptPubKey(path), network)
      if (address === undefined) throw new Error('a script of ours has no address')
      return address
    },
    secret(path) {
      const parent = branches[branchName(path)]
      return secretAdd(parent.secret, childTweak(parent, path.index))
    },
    findPath(script, known) {
      if (!hasOurForm(script)) return undefined
      for (const name of BRANCH_NAMES) watch(name, freshIndex(known[name]) + GAP_LIMIT)
      const path = paths.get(bytesToHex(script))
      return path !== undefined && path.index < freshIndex(known[branchName(path)]) + GAP_LIMIT ? path : undefined
    },
  }
}
