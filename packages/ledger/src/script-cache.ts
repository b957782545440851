/**
 * What is known of scripts that have run: transactions whose scripts all pass, and single signatures that are valid. Bitcoin Core
 * script/sigcache.h and validation.h, ValidationCache: what entered the mempool is not checked again in its block, and a signature that
 * was judged once (in a transaction that failed for another reason, or comes back with another witness) is not judged again.
 * Bounded in bytes; keyed hashes with a secret salt, so that nobody can aim at a place in it. What is forgotten costs time, never more.
 * The memory may be shared: one thread adds, others ask. A key torn by the two is a key that nobody asks for.
 */
import { Writer } from '@leyden/codec'
import { sha256 } from '@leyden/crypto'
import type { SignatureMemory, Wtxid } from '@leyden/bitcoin'

/** The first words of the memory, then buckets of keys. */
const COUNT = 0
const HEAD_WORDS = 8
const KEY_WORDS = 8
const KEYS_IN_BUCKET = 8
const BUCKET_WORDS = KEY_WORDS * KEYS_IN_BUCKET + 8

/** A set of 32-byte hashes in a piece of memory; a full bucket loses what has been in it longest. */
class HashSet {
  readonly #words: Uint32Array
  readonly #buckets: number

  constructor(memory: ArrayBufferLike, from: number, bytes: number) {
    this.#words = new Uint32Array(memory, from, bytes >>> 2)
    this.#buckets = Math.floor((this.#words.length - HEAD_WORDS) / BUCKET_WORDS)
    if (this.#buckets < 1) throw new RangeError(`no cache in ${bytes} bytes`)
  }

  /** Whether nothing was ever added. */
  get isEmpty(): boolean {
    return this.#words[COUNT] === 0
  }

  #find(key: Uint32Array): { readonly bucket: number; readonly found: boolean } {
    const words = this.#words
    const bucket = HEAD_WORDS + ((key[0] as number) % this.#buckets) * BUCKET_WORDS
    for (let slot = 0; slot < KEYS_IN_BUCKET; slot++) {
      const at = bucket + slot * KEY_WORDS
      let word = 0
      while (word < KEY_WORDS && words[at + word] === key[word]) word++
      if (word === KEY_WORDS) return { bucket, found: true }
    }
    return { bucket, found: false }
  }

  has(key: Uint32Array): boolean {
    return this.#find(key).found
  }

  add(key: Uint32Array): void {
    const { bucket, found } = this.#find(key)
    if (found) return
    const turn = bucket + KEY_WORDS * KEYS_IN_BUCKET
    const slot = this.#words[turn] as number
    this.#words[turn] = (slot + 1) % KEYS_IN_BUCKET
    this.#words.set(key, bucket + slot * KEY_WORDS)
    this.#words[COUNT] = 1
  }
}

const KIND = { ecdsa: 1, schnorr: 2, transaction: 3 } as const

/** What other threads need to read the cache. Not for the outside: who has the salt can aim. */
export type ScriptCacheMemory = { readonly memory: ArrayBufferLike; readonly salt: Uint8Array }

export interface ScriptCache {
  readonly signatures: SignatureMemory
  /** Whether all scripts of the transaction are known to pass under exactly these flags. */
  hasPassed(id: Wtxid, flags: number): boolean
  rememberPassed(id: Wtxid, flags: number): void
  readonly shared: ScriptCacheMemory
}

/** Bytes of a cache that nobody chose a size for: some 14,000 signatures and as many transactions. */
const DEFAULT_BYTES = 1 << 20

/** Memory for a cache of so many bytes, half of it for signatures. `salt`: 32 secret bytes; without, anyone can aim. */
export const createScriptCache = (bytes = DEFAULT_BYTES, salt: Uint8Array = new Uint8Array(32)): ScriptCache =>
  openScriptCache({ memory: new SharedArrayBuffer(bytes & ~7), salt })

/** The cache that lies in a memory. Only one thread may add. */
export const openScriptCache = (shared: ScriptCacheMemory): ScriptCache => {
  const { memory, salt } = shared
  const half = (memory.byteLength >>> 3) * 4
  const valid = new HashSet(memory, 0, half)
  const passed = new HashSet(memory, half, half)
  const message = new Writer(256)
  const keyed = (kind: number, write: () => void): Uint32Array => {
    message.clear()
    message.bytes(salt)
    message.u8(kind)
    write()
    const { buffer, byteOffset } = sha256(message.written())
    return new Uint32Array(buffer, byteOffset, KEY_WORDS)
  }
  const signatureKey: (...triple: Parameters<SignatureMemory['add']>) => Uint32Array = (kind, hash, key, signature) =>
    keyed(KIND[kind], () => {
      message.bytes(hash)
      message.bytes(signature)
      message.bytes(key) // last: its length varies
    })
  const transactionKey = (id: Wtxid, flags: number): Uint32Array =>
    keyed(KIND.transaction, () => {
      message.reversedHex(id)
      message.u64le(BigInt(flags))
    })
  return {
    shared,
    signatures: {
      has: (kind, hash, key, signature) => !valid.isEmpty && valid.has(signatureKey(kind, hash, key, signature)),
      add: (kind, hash, key, signature) => valid.add(signatureKey(kind, hash, key, signature)),
    },
    hasPassed: (id, flags) => !passed.isEmpty && passed.has(transactionKey(id, flags)),
    rememberPassed: (id, flags) => passed.add(transactionKey(id, flags)),
  }
}

/** The signatures of a cache for those who only read it: blocks, whose own signatures nobody will ask for again. */
export const knownSignatures = (shared: ScriptCacheMemory | undefined): SignatureMemory | undefined => {
  if (shared === undefined) return undefined
  const { signatures } = openScriptCache(shared)
  return { has: (...triple) => signatures.has(...triple), add: () => undefined }
}
