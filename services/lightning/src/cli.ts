/**
 * `leyden`: the command line of a node. Every command but `start` is one call of the wallet API and prints its JSON.
 * It finds the node by --node (a URL, or a name of the devnet) and its token in the node's api.cookie.
 */
import { existsSync, readFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { pathToFileURL } from 'node:url'
import { createClient, Problem, unwrap } from '@leyden/api/client'
import { type ArgsDef, type CommandDef, defineCommand, runMain } from 'citty'
import { defaultDatadir } from './datadir.ts'

const common = {
  node: {
    type: 'string',
    description: 'URL of the API, or a node of the devnet (alice, bob, carol)',
    alias: 'n',
    default: 'http://127.0.0.1:9740',
  },
  tokenFile: { type: 'string', description: 'file with the API token (default: api.cookie of the node)' },
} as const satisfies ArgsDef

/** What the devnet writes: name -> where its node is. */
type Devnet = Record<string, { readonly url: string; readonly tokenFile: string }>

const locate = (node: string, tokenFile: string | undefined): { baseUrl: string; token: string } => {
  let baseUrl = node
  let file = tokenFile
  if (!/^https?:/.test(node)) {
    const path = resolve(process.env['LEYDEN_DEVNET'] ?? '.leyden', 'devnet.json')
    if (!existsSync(path))
      throw new Error(`--node ${node} is not a URL, and no devnet runs here (${path} is missing): start one with "npm start"`)
    const known = JSON.parse(readFileSync(path, 'utf8')) as Devnet
    const found = known[node]
    if (found === undefined) throw new Error(`the devnet has no node "${node}"; it has ${Object.keys(known).join(', ')}`)
    baseUrl = found.url
    file ??= found.tokenFile
  }
  file ??= join(process.env['LEYDEN_DATADIR'] ?? defaultDatadir(), 'api.cookie')
  if (!existsSync(file)) throw new Error(`no token at ${file}: is the node running? Else name its file with --token-file`)
  return { baseUrl, token: readFileSync(file, 'utf8').trim() }
}

type Client = ReturnType<typeof createClient>

const print = (value: unknown): void => {
  process.stdout.write(`${JSON.stringify(value, null, 2)}\n`)
}

/** Runs a call, prints its answer; a refusal goes to stderr and ends with 1. */
const call = async (
  args: { node: string; tokenFile?: string | undefined },
  run: (client: Client) => Promise<unknown>,
): Promise<void> => {
  try {
    const answer = await run(createClient(locate(args.node, args.tokenFile)))
    if (answer !== undefined) print(answer)
  } catch (error) {
    const text =
      error instanceof Problem
        ? `${error.code}: ${error.message}`
        : error instanceof TypeError && error.message === 'fetch failed'
          ? `no node answers at ${args.node}: start it with "leyden start", or name another with --node`
          : (error as Error).message
    process.stderr.write(`${text}\n`)
    process.exitCode = 1
  }
}

const amount = (text: string | undefined, name: string): number | undefined => {
  if (text === undefined) return undefined
  if (!/^\d+$/.test(text)) throw new Error(`--${name}: a whole number, without unit`)
  return Number(text)
}
const feerate = (text: string | undefined): { readonly feeratePerVbyte?: number } => {
  if (text === undefined) return {}
  if (!/^\d+(\.\d+)?$/.test(text)) throw new Error('--feerate: satoshi per vbyte, a number')
  return { feeratePerVbyte: Number(text) }
}

/** A command without arguments of its own. */
const simple = (description: string, run: (client: Client) => Promise<unknown>): CommandDef<typeof common> =>
  defineCommand({ meta: { description }, args: common, run: ({ args }) => call(args, run) })

const query = { query: {} }

const commands = {
  // Loaded when it is asked for: a client needs no node.
  start: async () => (await import('./start.ts')).startCommand,
  info: simple('this node: id, network, height', (c) => unwrap(c.v1.node.$get())),
  balance: simple('balances on chain and in channels', (c) => unwrap(c.v1.balance.$get())),
  address: defineCommand({
    meta: { description: 'a new address to receive on chain' },
    args: { ...common, type: { type: 'string', description: 'p2wpkh or p2tr', default: 'p2wpkh' } },
    run: ({ args }) => call(args, (c) => unwrap(c.v1.addresses.$post({ json: { type: args.type as 'p2wpkh' | 'p2tr' } }))),
  }),
  send: defineCommand({
    meta: { description: 'send on chain' },
    args: {
      ...common,
      address: { type: 'positional', description: 'where to', required: true },
      amountSat: { type: 'positional', description: 'satoshi, or "all"', required: true },
      feerate: { type: 'string', description: 'satoshi per vbyte' },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.transactions.$post({
            json: {
              address: args.address,
              ...(args.amountSat === 'all' ? { all: true as const } : { amountSat: amount(args.amountSat, 'amount') as number }),
              ...feerate(args.feerate),
            },
          }),
        ),
      ),
  }),
  transactions: simple('transactions of the wallet, newest first', (c) => unwrap(c.v1.transactions.$get(query))),
  utxos: simple('unspent outputs of the wallet', (c) => unwrap(c.v1.utxos.$get())),
  fees: simple('fee rates of the moment', (c) => unwrap(c.v1.fees.$get())),
  peers: simple('connected peers', (c) => unwrap(c.v1.peers.$get())),
  connect: defineCommand({
    meta: { description: 'connect to a peer' },
    args: { ...common, uri: { type: 'positional', description: 'nodeid@host:port', required: true } },
    run: ({ args }) => call(args, (c) => unwrap(c.v1.peers.$post({ json: { uri: args.uri } }))),
  }),
  disconnect: defineCommand({
    meta: { description: 'disconnect from a peer' },
    args: { ...common, nodeId: { type: 'positional', description: 'the peer', required: true } },
    run: ({ args }) =>
      call(args, async (c) => {
        const answer = await c.v1.peers[':nodeId'].$delete({ param: { nodeId: args.nodeId } })
        if (!answer.ok) await unwrap(Promise.resolve(answer as never))
      }),
  }),
  channels: simple('channels', (c) => unwrap(c.v1.channels.$get(query))),
  channel: defineCommand({
    meta: { description: 'one channel' },
    args: { ...common, channelId: { type: 'positional', description: 'its id', required: true } },
    run: ({ args }) => call(args, (c) => unwrap(c.v1.channels[':channelId'].$get({ param: { channelId: args.channelId } }))),
  }),
  open: defineCommand({
    meta: { description: 'open a channel' },
    args: {
      ...common,
      peer: { type: 'positional', description: 'nodeid@host:port, or the id of a connected peer', required: true },
      capacitySat: { type: 'positional', description: 'satoshi', required: true },
      pushMsat: { type: 'string', description: 'millisatoshi that the peer gets at once' },
      feerate: { type: 'string', description: 'satoshi per vbyte of the funding transaction' },
      private: { type: 'boolean', description: 'do not announce it', default: false },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.channels.$post({
            json: {
              ...(args.peer.includes('@') ? { uri: args.peer } : { nodeId: args.peer }),
              capacitySat: amount(args.capacitySat, 'capacity') as number,
              announce: !args.private,
              ...(args.pushMsat === undefined ? {} : { pushMsat: amount(args.pushMsat, 'push-msat') as number }),
              ...feerate(args.feerate),
            },
          }),
        ),
      ),
  }),
  close: defineCommand({
    meta: { description: 'close a channel' },
    args: {
      ...common,
      channelId: { type: 'positional', description: 'its id', required: true },
      force: { type: 'boolean', description: 'without the peer; the funds come after a delay', default: false },
      address: { type: 'string', description: 'where our part goes' },
      feerate: { type: 'string', description: 'satoshi per vbyte' },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.channels[':channelId'].close.$post({
            param: { channelId: args.channelId },
            json: {
              force: args.force,
              ...(args.address === undefined ? {} : { address: args.address }),
              ...feerate(args.feerate),
            },
          }),
        ),
      ),
  }),
  invoice: defineCommand({
    meta: { description: 'create an invoice' },
    args: {
      ...common,
      amountMsat: { type: 'positional', description: 'millisatoshi; without it the payer chooses', required: false },
      description: { type: 'string', description: 'what it is for', alias: 'd', default: '' },
      expiry: { type: 'string', description: 'seconds' },
      hold: { type: 'string', description: 'payment hash whose preimage you hold back until settle' },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.invoices.$post({
            json: {
              description: args.description,
              ...(args.amountMsat === undefined ? {} : { amountMsat: amount(args.amountMsat, 'amount') as number }),
              ...(args.expiry === undefined ? {} : { expirySeconds: amount(args.expiry, 'expiry') as number }),
              ...(args.hold === undefined ? {} : { hold: { paymentHash: args.hold } }),
            },
          }),
        ),
      ),
  }),
  invoices: simple('invoices, newest first', (c) => unwrap(c.v1.invoices.$get(query))),
  settle: defineCommand({
    meta: { description: 'settle a held invoice' },
    args: {
      ...common,
      preimage: { type: 'positional', description: '64 hex digits', required: true },
      paymentHash: { type: 'positional', description: 'its payment hash', required: true },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.invoices[':paymentHash'].settle.$post({
            param: { paymentHash: args.paymentHash },
            json: { preimage: args.preimage },
          }),
        ),
      ),
  }),
  cancel: defineCommand({
    meta: { description: 'cancel an invoice' },
    args: { ...common, paymentHash: { type: 'positional', description: 'its payment hash', required: true } },
    run: ({ args }) =>
      call(args, (c) => unwrap(c.v1.invoices[':paymentHash'].cancel.$post({ param: { paymentHash: args.paymentHash } }))),
  }),
  pay: defineCommand({
    meta: { description: 'pay a BOLT 11 invoice and wait for the outcome' },
    args: {
      ...common,
      to: { type: 'positional', description: 'the invoice', required: true },
      amountMsat: { type: 'string', description: 'millisatoshi, where the invoice names none' },
      maxFeeMsat: { type: 'string', description: 'the most that fees may be' },
      wait: { type: 'string', description: 'seconds to wait', default: '60' },
    },
    run: ({ args }) =>
      call(args, (c) =>
        unwrap(
          c.v1.payments.$post(
            {
              json: {
                to: args.to,
                ...(args.amountMsat === undefined ? {} : { amountMsat: amount(args.amountMsat, 'amount-msat') as number }),
                ...(args.maxFeeMsat === undefined ? {} : { maxFeeMsat: amount(args.maxFeeMsat, 'max-fee-msat') as number }),
              },
            },
            { headers: { prefer: `wait=${amount(args.wait, 'wait')}` } },
          ),
        ),
      ),
  }),
  payments: simple('payments, newest first', (c) => unwrap(c.v1.payments.$get(query))),
  decode: defineCommand({
    meta: { description: 'what an invoice, address or node id says' },
    args: { ...common, text: { type: 'positional', description: 'the text', required: true } },
    run: ({ args }) => call(args, (c) => unwrap(c.v1.decode.$post({ json: { text: args.text } }))),
  }),
  events: defineCommand({
    meta: { description: 'print events as they come, one JSON a line' },
    args: { ...common, after: { type: 'string', description: 'begin after this event id (0: all)' } },
    run: async ({ args }) => {
      await call(args, async () => {
        const { baseUrl, token } = locate(args.node, args.tokenFile)
        const url = `${baseUrl}/v1/events${args.after === undefined ? '' : `?after=${encodeURIComponent(args.after)}`}`
        const answer = await fetch(url, { headers: { authorization: `Bearer ${token}` } })
        if (!answer.ok || answer.body === null) return await unwrap(Promise.resolve(answer as never))
        let rest = ''
        for await (const chunk of answer.body.pipeThrough(new TextDecoderStream())) {
          const lines = (rest + chunk).split('\n')
          rest = lines.pop() ?? ''
          for (const line of lines) if (line.startsWith('data: ')) process.stdout.write(`${line.slice(6)}\n`)
        }
        return undefined
      })
    },
  }),
}

const kebab = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `-${letter.toLowerCase()}`)

interface Command {
  readonly meta: { readonly description: string }
  readonly args: ArgsDef
}
/** The command with its name, and its arguments spelled as one types them. */
const asTyped = async (name: string, command: unknown): Promise<Command> => {
  const plain = (typeof command === 'function' ? await command() : command) as Command
  const args = Object.fromEntries(Object.entries(plain.args).map(([arg, definition]) => [kebab(arg), definition]))
  return { ...plain, meta: { ...plain.meta, name } as Command['meta'], args }
}

const main = defineCommand({
  meta: { name: 'leyden', version: '0.1.0', description: 'A Lightning node and its wallet' },
  subCommands: Object.fromEntries(Object.entries(commands).map(([name, command]) => [name, () => asTyped(name, command)])),
})

/** The first flag that the command does not have: a mistyped --max-fee-msat must not be a payment without a limit. */
const unknownFlag = async ([name = '', ...rest]: readonly string[]): Promise<string | undefined> => {
  const command = Object.entries(commands).find(([known]) => known === name)?.[1]
  if (command === undefined) return undefined
  const known = new Set(['--help', '-h'])
  const { args } = await asTyped(name, command)
  for (const [arg, definition] of Object.entries(args)) {
    known.add(`--${arg}`)
    known.add(`--${arg.replaceAll(/-([a-z])/g, (_, letter: string) => letter.toUpperCase())}`)
    if ('alias' in definition) known.add(`-${String(definition.alias)}`)
  }
  const end = rest.indexOf('--')
  return rest
    .slice(0, end < 0 ? undefined : end)
    .map((arg) => arg.replace(/=.*$/s, ''))
    .find((arg) => /^-./.test(arg) && !known.has(arg) && !known.has(arg.replace(/^--no-/, '--')))
}

export const run = async (rawArgs: string[]): Promise<void> => {
  const unknown = await unknownFlag(rawArgs)
  if (unknown === undefined) return await runMain(main, { rawArgs })
  process.stderr.write(`unknown flag ${unknown}; see "leyden ${rawArgs[0]} --help" (a value that begins with - goes after =)\n`)
  process.exitCode = 2
}

if (process.argv[1] !== undefined && import.meta.url === pathToFileURL(process.argv[1]).href) await run(process.argv.slice(2))
