/**
 * bitcoind's settings: `-name=value` words of the command line and lines of bitcoin.conf, and which of them is in force.
 * Bitcoin Core 28.1 common/args.cpp, common/config.cpp, common/settings.cpp. The command line stands over settings.json, that over the
 * network's section of the file, and that over what stands before any section; what is negated hides what stands before it.
 * The surprise, kept as it is there: of several lines in the file the first counts, of several words on the command line the last.
 */
import { existsSync, mkdirSync, readFileSync, renameSync, statSync, writeFileSync } from 'node:fs'
import { homedir } from 'node:os'
import { dirname, isAbsolute, join, resolve } from 'node:path'
import { duplicateName } from '../rpc/json-names.ts'
import { OPTIONS } from './options.ts'

/** A mistake of whoever starts it; the message is what bitcoind says. */
export class InitError extends Error {
  readonly details: readonly string[]
  constructor(message: string, details: readonly string[] = []) {
    super(message)
    this.name = 'InitError'
    this.details = details
  }
}

/** `false` is negated, `true` negated twice. */
type Value = string | boolean
type Values = Map<string, Value[]>
type Source = 'commandLine' | 'persistent' | 'section' | 'top'
type Section = { readonly name: string; readonly file: string; readonly line: number }

const CHAIN_NAMES = { main: 'mainnet', test: 'testnet3', testnet4: 'testnet4', signet: 'signet', regtest: 'regtest' } as const
/** bitcoind's name of a chain: its `-chain=` and its section. */
export type ChainName = keyof typeof CHAIN_NAMES
const isChainName = (name: string): name is ChainName => Object.hasOwn(CHAIN_NAMES, name)

/** As C's atoi: the digits at the front; nothing there is 0. */
const leadingInteger = (text: string): number => {
  const digits = /^\s*([+-]?\d+)/.exec(text)?.[1]
  return digits === undefined ? 0 : Number(digits)
}
const asBool = (value: Value): boolean => (typeof value === 'boolean' ? value : value === '' || leadingInteger(value) !== 0)
const asText = (value: Value): string => (typeof value === 'string' ? value : value ? '1' : '0')

const push = (values: Values, name: string, value: Value): void => {
  const list = values.get(name)
  if (list === undefined) values.set(name, [value])
  else list.push(value)
}

type Key = { readonly section: string; readonly name: string; readonly negated: boolean }
const parseKey = (text: string): Key => {
  const dot = text.indexOf('.')
  const name = text.slice(dot + 1)
  const negated = name.startsWith('no')
  return { section: dot < 0 ? '' : text.slice(0, dot), name: negated ? name.slice(2) : name, negated }
}

const parseValue = ({ name, negated }: Key, text: string | undefined): Value => {
  if (negated) {
    if (OPTIONS[name]?.negatable === false) throw new InitError(`Negating of -${name} is meaningless and therefore forbidden`)
    return text !== undefined && !asBool(text)
  }
  if (text === undefined && OPTIONS[name]?.valued === true)
    throw new InitError(`Can not set -${name} with no value. Please specify value with -${name}=value.`)
  return text ?? ''
}

/** What of a list is in force: after the last negation. */
const inForce = (list: readonly Value[]): { readonly values: readonly Value[]; readonly negated: boolean } => {
  const last = list.lastIndexOf(false)
  return { values: list.slice(last + 1), negated: list.length > 0 && last === list.length - 1 }
}

type Line = { readonly name: string; readonly value: string }
const trim = (text: string): string => text.replaceAll(/^[ \t\r\n]+|[ \t\r\n]+$/g, '')

const parseLines = (text: string, file: string, sections: Section[]): readonly Line[] => {
  const lines: Line[] = []
  let prefix = ''
  for (const [at, whole] of text.split('\n').entries()) {
    const hash = whole.indexOf('#')
    const line = trim(hash < 0 ? whole : whole.slice(0, hash))
    const number = at + 1
    if (line === '') continue
    if (line.startsWith('[') && line.endsWith(']')) {
      const name = line.slice(1, -1)
      sections.push({ name, file, line: number })
      prefix = `${name}.`
      continue
    }
    if (line.startsWith('-'))
      throw new InitError(
        `parse error on line ${number}: ${line}, options in configuration file must be specified without leading -`,
      )
    const equals = line.indexOf('=')
    if (equals < 0) {
      const hint = line.startsWith('no') ? `, if you intended to specify a negated option, use ${line}=1 instead` : ''
      throw new InitError(`parse error on line ${number}: ${line}${hint}`)
    }
    const name = prefix + trim(line.slice(0, equals))
    if (hash >= 0 && name.includes('rpcpassword'))
      throw new InitError(`parse error on line ${number}, using # in rpcpassword can be ambiguous and should be avoided`)
    lines.push({ name, value: trim(line.slice(equals + 1)) })
    const dot = name.lastIndexOf('.')
    if (dot >= prefix.length) sections.push({ name: name.slice(0, dot), file, line: number })
  }
  return lines
}

/** Where bitcoind keeps its data when nobody says. */
const defaultDatadir = (home: string): string => {
  if (process.platform === 'darwin') return join(home, 'Library', 'Application Support', 'Bitcoin')
  if (process.platform === 'win32') return join(process.env['LOCALAPPDATA'] ?? home, 'Bitcoin')
  return join(home, '.bitcoin')
}

export type Settings = {
  /** What is in force, as text: '' for given without a value, '1' and '0' for (twice) negated. */
  text(name: string): string | undefined
  bool(name: string): boolean | undefined
  int(name: string): number | undefined
  /** All that are in force, in order. */
  list(name: string): readonly string[]
  isNegated(name: string): boolean
  readonly chain: ChainName
  /** The directory as given. */
  readonly datadir: string
  /** The one of the chain in it. */
  readonly chainDir: string
  /** A path of a setting: relative ones stand in the directory (of the chain). */
  path(name: string, fallback: string, ofChain: boolean): string | undefined
  /** Options of a network that stand before any section. */
  readonly misplaced: readonly string[]
  /** What is odd but stops nothing. For people. */
  readonly warnings: readonly string[]
  /** What to write on the error stream, whatever else is written. */
  readonly notices: readonly string[]
  /** What was given where, for the log; passwords are not shown. */
  readonly told: readonly string[]
  readonly configFile: string
}

/** What we call ourselves to whoever knows bitcoind. */
export const PROGRAM = 'Leyden ledger'
const CONFIG_FILE = 'bitcoin.conf'
const SETTINGS_FILE = 'settings.json'
const isDirectory = (path: string): boolean => existsSync(path) && statSync(path).isDirectory()

class Reader {
  readonly #commandLine: Values = new Map()
  readonly #persistent: Values = new Map()
  readonly #sections = new Map<string, Values>()
  readonly sectionsSeen: Section[] = []
  readonly #order: readonly Source[] = ['commandLine', 'persistent', 'section', 'top']
  network: string | undefined

  #values(source: Source, section: string | undefined): Values | undefined {
    if (source === 'commandLine') return this.#commandLine
    if (source === 'persistent') return this.#persistent
    if (source === 'top') return this.#sections.get('')
    return section === undefined || section === '' ? undefined : this.#sections.get(section)
  }

  takeWords(words: readonly string[]): void {
    for (const word of words) {
      if (word === '-') break
      const equals = word.indexOf('=')
      const name = (equals < 0 ? word : word.slice(0, equals)).replace(/^--?/, '')
      if (!word.startsWith('-')) break
      const key = parseKey(name)
      if (!Object.hasOwn(OPTIONS, key.name) || key.section !== '') throw new InitError(`Invalid parameter ${word}`)
      push(this.#commandLine, key.name, parseValue(key, equals < 0 ? undefined : word.slice(equals + 1)))
    }
    const included = inForce(this.#commandLine.get('includeconf') ?? []).values[0]
    if (included !== undefined)
      throw new InitError(`-includeconf cannot be used from commandline; -includeconf=${JSON.stringify(included)}`)
  }

  /** Takes a file in; the names in it that are not known. */
  takeFile(text: string, file: string): readonly string[] {
    const unknown: string[] = []
    for (const { name, value } of parseLines(text, file, this.sectionsSeen)) {
      const key = parseKey(name)
      if (key.name === 'conf')
        throw new InitError(
          'conf cannot be set in the configuration file; use includeconf= if you want to include additional config files',
        )
      if (!Object.hasOwn(OPTIONS, key.name)) {
        unknown.push(name)
        continue
      }
      let section = this.#sections.get(key.section)
      if (section === undefined) this.#sections.set(key.section, (section = new Map()))
      push(section, key.name, parseValue(key, value))
    }
    return unknown
  }

  takePersistent(values: Readonly<Record<string, unknown>>): readonly string[] {
    const unknown: string[] = []
    for (const [name, value] of Object.entries(values)) {
      if (!Object.hasOwn(OPTIONS, parseKey(name).name)) unknown.push(name)
      for (const one of Array.isArray(value) ? value : [value])
        push(this.#persistent, name, typeof one === 'boolean' ? one : String(one))
    }
    return unknown
  }

  #ignoresTop(name: string): boolean {
    return OPTIONS[name]?.networkOnly === true && this.network !== undefined && this.network !== 'main'
  }

  get(name: string, chainType = false): Value | undefined {
    for (const source of this.#order) {
      const { values, negated } = inForce(this.#values(source, chainType ? undefined : this.network)?.get(name) ?? [])
      if (source === 'top' && this.#ignoresTop(name) && !chainType && !negated) continue
      if (negated && chainType) continue
      const fromFile = (source === 'section' || source === 'top') && !chainType
      if (values.length > 0) return fromFile ? values[0] : values.at(-1)
      if (negated) return false
    }
    return undefined
  }

  list(name: string): readonly string[] {
    const result: string[] = []
    let done = false
    let hidden = false
    for (const source of this.#order) {
      const list = this.#values(source, this.network)?.get(name) ?? []
      if (source === 'top' && this.#ignoresTop(name)) continue
      const { values, negated } = inForce(list)
      const fromFile = source === 'section' || source === 'top'
      if (!done || (fromFile && !hidden)) result.push(...values.map(asText))
      done ||= list.includes(false)
      hidden ||= negated && result.length === 0
    }
    return result
  }

  /** Included files that a section names, beyond the first so many. */
  includes(section: string, skip = 0): readonly string[] {
    const list = this.#sections.get(section)?.get('includeconf') ?? []
    return list.slice(Math.max(skip, list.lastIndexOf(false) + 1)).map(asText)
  }
  includeCount(section: string): number {
    return this.#sections.get(section)?.get('includeconf')?.length ?? 0
  }
  get includesNothing(): boolean {
    return this.#commandLine.has('includeconf')
  }

  chainName(): string {
    const given = (['regtest', 'signet', 'testnet', 'testnet4'] as const).filter((name) => asBool(this.get(name, true) ?? false))
    const chain = this.get('chain')
    if (given.length + (chain === undefined ? 0 : 1) > 1)
      throw new InitError('Invalid combination of -regtest, -signet, -testnet, -testnet4 and -chain. Can use at most one.')
    if (chain !== undefined) return asText(chain)
    return given[0] === 'testnet' ? 'test' : (given[0] ?? 'main')
  }

  /** Given before any section only, though the network's own value is wanted. */
  onlyOnTop(): readonly string[] {
    if (this.network === undefined || this.network === 'main') return []
    return Object.keys(OPTIONS).filter((name) => {
      if (OPTIONS[name]?.networkOnly !== true) return false
      const has = (source: Source): boolean => inForce(this.#values(source, this.network)?.get(name) ?? []).values.length > 0
      return has('top') && !has('commandLine') && !has('persistent') && !has('section')
    })
  }

  told(): readonly string[] {
    const shown = (name: string, value: Value): string =>
      OPTIONS[name]?.sensitive === true ? '****' : typeof value === 'boolean' ? String(value) : JSON.stringify(value)
    const lines = (where: string, values: Values): string[] =>
      [...values].flatMap(([name, list]) => list.map((value) => `${where} ${name}=${shown(name, value)}`))
    return [
      ...[...this.#sections].flatMap(([section, values]) =>
        lines(`Config file arg:${section === '' ? '' : ` [${section}]`}`, values),
      ),
      ...lines('Setting file arg:', this.#persistent),
      ...lines('Command-line arg:', this.#commandLine),
    ]
  }
}

const WARNING = '_warning_'

const readPersistent = (path: string): Readonly<Record<string, unknown>> => {
  const failed = (detail: string): InitError => new InitError('Settings file could not be read', [detail])
  if (!existsSync(path)) return {}
  const text = readFileSync(path, 'utf8')
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    throw failed(
      `Settings file ${path} does not contain valid JSON. This is probably caused by disk corruption or a crash, and can be fixed by ` +
        'removing the file, which will reset settings to default values.',
    )
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw failed(`Found non-object value ${JSON.stringify(value)} in settings file ${path}`)
  const twice = duplicateName(text, [])
  if (twice !== undefined) throw failed(`Found duplicate key ${twice} in settings file ${path}`)
  return Object.fromEntries(Object.entries(value).filter(([name]) => name !== WARNING))
}

/** Written back, so that whoever looks for it finds it. */
const writePersistent = (path: string, values: Readonly<Record<string, unknown>>): void => {
  const warning =
    `This file is automatically generated and updated by ${PROGRAM}. Please do not edit this file while the node is running, ` +
    'as any changes might be ignored or overwritten.'
  try {
    mkdirSync(dirname(path), { recursive: true, mode: 0o700 })
    writeFileSync(`${path}.tmp`, `${JSON.stringify({ [WARNING]: warning, ...values }, undefined, 4)}\n`, { mode: 0o600 })
    renameSync(`${path}.tmp`, path)
  } catch (error) {
    throw new InitError('Settings file could not be written', [String(error)])
  }
}

/** Words of the command line and the files that they name. Throws {@link InitError}. */
export const readSettings = (words: readonly string[], home = process.env['HOME'] ?? homedir()): Settings => {
  const reader = new Reader()
  const text = (name: string): string | undefined => {
    const value = reader.get(name)
    return value === undefined ? undefined : asText(value)
  }
  try {
    reader.takeWords(words)
  } catch (error) {
    if (error instanceof InitError) throw new InitError(`Error parsing command line arguments: ${error.message}`)
    throw error
  }
  const directory = (): string => {
    const given = text('datadir')
    return given === undefined || given === '' || given === '0' ? defaultDatadir(home) : resolve(given)
  }
  const checked = (missing: (given: string) => string): string => {
    const path = directory()
    const given = text('datadir')
    if (given !== undefined && given !== '' && !isDirectory(path)) throw new InitError(missing(given))
    return path
  }
  const first = checked((given) => `Specified data directory "${given}" does not exist.`)
  const notices: string[] = []
  const warnings: string[] = []
  const told: string[] = []
  const absolute = (path: string): string => (isAbsolute(path) ? path : join(first, path))
  const configGiven = text('conf')
  const isNoFile = reader.get('conf') === false
  const configFile = absolute(configGiven === undefined || configGiven === '' ? CONFIG_FILE : configGiven)
  const takeFile = (content: string, file: string): void => {
    for (const name of reader.takeFile(content, file)) told.push(`Ignoring unknown configuration value ${name}`)
  }
  try {
    const exists = existsSync(configFile) && !isDirectory(configFile) && !isNoFile
    if (configGiven !== undefined && !exists && !isNoFile)
      throw new InitError(`specified config file "${configFile}" could not be opened.`)
    if (exists) {
      takeFile(readFileSync(configFile, 'utf8'), configFile)
      if (!reader.includesNothing) {
        const chain = reader.chainName()
        const counts = [reader.includeCount(chain), reader.includeCount('')] as const
        for (const name of [...reader.includes(chain), ...reader.includes('')]) {
          const path = absolute(name)
          if (!existsSync(path) || isDirectory(path)) throw new InitError(`Failed to include configuration file ${name}`)
          takeFile(readFileSync(path, 'utf8'), name)
          told.push(`Included configuration file ${name}`)
        }
        const final = reader.chainName()
        for (const name of [
          ...reader.includes(chain, counts[0]),
          ...reader.includes('', counts[1]),
          ...(final === chain ? [] : reader.includes(final)),
        ])
          notices.push(`warning: -includeconf cannot be used from included files; ignoring -includeconf=${name}`)
      }
    }
    checked((given) => `specified data directory "${given}" does not exist.`)
  } catch (error) {
    if (error instanceof InitError) throw new InitError(`Error reading configuration file: ${error.message}`)
    throw error
  }
  const chain = reader.chainName()
  if (!isChainName(chain)) throw new InitError(`Unknown chain ${chain}.`)
  reader.network = chain
  const datadir = directory()
  const chainDir = chain === 'main' ? datadir : join(datadir, CHAIN_NAMES[chain])

  const path = (name: string, fallback: string, ofChain: boolean): string | undefined => {
    const given = reader.get(name)
    if (given === false) return undefined
    const file = given === undefined || asText(given) === '' ? fallback : asText(given)
    return isAbsolute(file) ? file : join(ofChain ? chainDir : datadir, file)
  }
  const ignored = join(datadir, CONFIG_FILE)
  if (existsSync(ignored) && resolve(ignored) !== resolve(configFile)) {
    const from =
      configGiven === undefined || configGiven === ''
        ? `data directory "${first}"`
        : `command line argument "-conf=${configGiven}"`
    const message =
      `Data directory "${datadir}" contains a "${CONFIG_FILE}" file which is ignored, because a different configuration file ` +
      `"${configFile}" from ${from} is being used instead. Possible ways to address this would be to:\n` +
      `- Delete or rename the "${CONFIG_FILE}" file in data directory "${datadir}".\n` +
      '- Change datadir= or conf= options to specify one configuration file, not two, and use includeconf= to include any other ' +
      'configuration files.\n- Set allowignoredconf=1 option to treat this condition as a warning, not an error.'
    if (!asBool(reader.get('allowignoredconf') ?? false)) throw new InitError(message)
    told.push(`Warning: ${message}`)
  }
  // Programs that know bitcoind's layout expect a directory for wallets.
  const isAsked = ['?', 'h', 'help', 'help-debug', 'version'].some((name) => reader.get(name) !== undefined)
  const persistent = isAsked ? undefined : path('settings', SETTINGS_FILE, true)
  if (!isAsked && !existsSync(chainDir)) mkdirSync(join(chainDir, 'wallets'), { recursive: true, mode: 0o700 })
  if (persistent !== undefined) {
    const values = readPersistent(persistent)
    for (const name of reader.takePersistent(values)) told.push(`Ignoring unknown rw_settings value ${name}`)
    writePersistent(persistent, values)
  }
  const loose = words.find((word) => !word.startsWith('-'))
  if (loose !== undefined)
    throw new InitError(`Command line contains unexpected token '${loose}', see bitcoind -h for a list of options.`)
  const unknown = reader.sectionsSeen.filter(({ name }) => !isChainName(name))
  if (unknown.length > 0)
    warnings.push(unknown.map(({ name, file, line }) => `${file}:${line} Section [${name}] is not recognized.`).join('\n'))

  return {
    text,
    bool: (name) => {
      const value = reader.get(name)
      return value === undefined ? undefined : asBool(value)
    },
    int: (name) => {
      const value = reader.get(name)
      return value === undefined ? undefined : typeof value === 'boolean' ? Number(value) : leadingInteger(value)
    },
    list: (name) => reader.list(name),
    isNegated: (name) => reader.get(name) === false,
    chain,
    datadir,
    chainDir,
    path,
    misplaced: reader.onlyOnTop(),
    warnings,
    notices,
    told: [...told, ...reader.told()],
    configFile,
  }
}
