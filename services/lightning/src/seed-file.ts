/**
 * The seed on disk: DATADIR/seed, 24 words of BIP 39, mode 0600. Made once, at the first start; everything else can be lost and
 * found again, this cannot.
 */
import { chmodSync, closeSync, existsSync, fsyncSync, mkdirSync, openSync, readFileSync, renameSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { isRefusal, mnemonicFromEntropy, seedFromMnemonic } from '@leyden/wallet'
import type { Random } from '@leyden/runtime'

/** The 64-byte seed; `created` when the file was not there before. Throws with a clear message on a damaged file. */
export const loadSeed = (datadir: string, random: Random): { readonly seed: Uint8Array; readonly created: boolean } => {
  const path = join(datadir, 'seed')
  const created = !existsSync(path)
  if (created) {
    mkdirSync(datadir, { recursive: true, mode: 0o700 })
    // Whole or not at all: a crash before the rename leaves no seed, and nothing was received with this one yet.
    const draft = `${path}.new`
    const file = openSync(draft, 'w', 0o600)
    writeSync(file, `${mnemonicFromEntropy(random.bytes(32))}\n`)
    fsyncSync(file)
    closeSync(file)
    renameSync(draft, path)
    const directory = openSync(datadir, 'r')
    fsyncSync(directory)
    closeSync(directory)
  }
  chmodSync(path, 0o600)
  const seed = seedFromMnemonic(readFileSync(path, 'utf8'))
  if (isRefusal(seed)) throw new Error(`${path} does not hold the words of a seed: restore it from your backup`)
  return { seed, created }
}
