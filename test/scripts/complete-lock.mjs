/**
 * npm leaves optional binaries of other platforms out of package-lock.json, and then `npm ci` refuses the file on every platform; and it
 * links only those programs of a workspace that the file names, which it does not notice when one is added.
 * Adds what is missing; `--check` only says whether something is. Run it after each `npm install` that changes the lock file.
 */
import { readFileSync, writeFileSync } from 'node:fs'

const PLATFORMS = ['darwin', 'win32', 'android', 'freebsd', 'openharmony', 'linux', 'sunos', 'aix', 'netbsd', 'openbsd']
const CPUS = ['arm64', 'x64', 'ia32', 'arm', 'ppc64', 'riscv64', 's390x', 'loong64', 'mips64el']

const path = new URL('../../package-lock.json', import.meta.url)
const lock = JSON.parse(readFileSync(path, 'utf8'))
const packages = lock.packages
let added = 0
for (const entry of Object.values(packages)) {
  for (const [name, version] of Object.entries(entry.optionalDependencies ?? {})) {
    if (!/^\d/.test(version)) continue
    if (Object.keys(packages).some((key) => key.endsWith(`node_modules/${name}`))) continue
    const plain = name.replace('gnueabihf', '').replace('musleabihf', '').replace('eabi', '').replace(/-+$/, '')
    const os = PLATFORMS.find((one) => name.includes(one))
    const cpu = CPUS.find((one) => new RegExp(`(^|[-_/])${one}($|[-_])`).test(plain))
    packages[`node_modules/${name}`] = {
      version,
      optional: true,
      ...(entry.dev ? { dev: true } : {}),
      ...(os ? { os: [os] } : {}),
      ...(cpu ? { cpu: [cpu] } : {}),
    }
    added += 1
  }
}
for (const [folder, entry] of Object.entries(packages)) {
  if (folder === '' || folder.includes('node_modules')) continue
  const { bin = {} } = JSON.parse(readFileSync(new URL(`../../${folder}/package.json`, import.meta.url), 'utf8'))
  for (const [name, file] of Object.entries(bin)) {
    if (entry.bin?.[name] !== undefined) continue
    const bins = Object.entries({ ...entry.bin, [name]: file.replace(/^\.\//, '') })
    entry.bin = Object.fromEntries(bins.toSorted(([a], [b]) => (a < b ? -1 : 1)))
    added += 1
  }
}
if (process.argv.includes('--check')) {
  if (added > 0) console.error(`package-lock.json lacks ${added} entries: run node test/scripts/complete-lock.mjs`)
  if (JSON.stringify(packages).includes('"resolved":"http')) {
    console.error(
      'package-lock.json holds download addresses: npm config set omit-lockfile-registry-resolved true, and write it again',
    )
    process.exit(1)
  }
  process.exit(added > 0 ? 1 : 0)
}
lock.packages = Object.fromEntries(Object.entries(packages).toSorted(([a], [b]) => (a < b ? -1 : 1)))
writeFileSync(path, `${JSON.stringify(lock, null, 2)}\n`)
console.log(`added ${added}`)
