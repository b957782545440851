import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { pointFromSecret } from '@leyden/crypto'
import {
  blockToSign,
  decodeBlock,
  encodeAddress,
  encodeBlock,
  encodeWif,
  merkleRoot,
  psbtToBase64,
  Sat,
  txid,
  type Block,
  type Tx,
} from '@leyden/bitcoin'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { startLedger, type RunningLedger } from './daemon.ts'
import { readNetworkFile } from './network.ts'
import { newNetworkFile } from './new-network.ts'
import { ANYONE } from './testing.ts'

const directory = mkdtempSync(join(tmpdir(), 'leyden-signing-'))
const file = join(directory, 'harbour.json')
const secrets = [21, 22, 23].map((n) => new Uint8Array(32).fill(n))
let members: RunningLedger[]
let address: string

const call = async <T>(member: number, method: string, ...params: readonly unknown[]): Promise<T> => {
  const { rpcUrl, cookieFile } = members[member]!
  const answer = await fetch(rpcUrl, {
    method: 'POST',
    body: JSON.stringify({ method, params, id: 1 }),
    headers: { authorization: `Basic ${btoa(readFileSync(cookieFile, 'utf8'))}` },
  })
  const { result, error } = (await answer.json()) as { result: T; error: { message: string } | null }
  if (error !== null) throw new Error(error.message)
  return result
}
type Proposal = { readonly block: string; readonly psbt: string }
type Signed = { readonly psbt: string; readonly complete: boolean }
const propose = (member: number): Promise<Proposal> => call(member, 'proposeblock', address)
const sign = (member: number, { block, psbt }: Proposal): Promise<Signed> => call(member, 'signblock', block, psbt)

beforeAll(async () => {
  const signers = secrets.map((secret) => bytesToHex(pointFromSecret(secret))).join(',')
  writeFileSync(file, JSON.stringify(newNetworkFile({ name: 'harbour', signers }, 1_750_000_000).file))
  const network = readNetworkFile(file)
  address = encodeAddress(ANYONE, network) as string
  members = await Promise.all(
    [...secrets, undefined].map((secret, i) =>
      startLedger({
        datadir: join(directory, String(i)),
        networkFile: file,
        rpcPort: 0,
        p2pPort: 0,
        link: false,
        ...(secret === undefined ? {} : { signingKeys: [encodeWif(secret, network)] }),
      }),
    ),
  )
})
afterAll(async () => {
  await Promise.all((members ?? []).map((member) => member.stop()))
  rmSync(directory, { recursive: true })
})

describe('a block that two of three members sign', () => {
  it('goes from one to the other, or to both at once, and is taken by all', async () => {
    const first = await propose(0)
    const half = await sign(0, first)
    expect(half.complete).toBe(false)
    const whole = await sign(2, { ...first, psbt: half.psbt })
    expect(whole.complete).toBe(true)
    expect(await call(3, 'submitsignedblock', first.block, whole.psbt)).toBeNull()
    const solved = await call<string>(3, 'getblock', await call(3, 'getbestblockhash'), 0)
    for (const member of [0, 1, 2]) expect(await call(member, 'submitblock', solved)).toBeNull()

    const second = await propose(3)
    const apart = await Promise.all([1, 2].map((member) => sign(member, second)))
    expect(apart.map(({ complete }) => complete)).toEqual([false, false])
    const psbts = apart.map(({ psbt }) => psbt)
    expect(await call(0, 'submitsignedblock', second.block, psbts)).toBeNull()
    expect(await call(0, 'getblockcount')).toBe(2)
    const next = await call<string>(0, 'getblock', await call(0, 'getbestblockhash'), 0)
    for (const member of [1, 2, 3]) expect(await call(member, 'submitblock', next)).toBeNull()
  })

  it('is not taken with one signature, and nobody signs what breaks a rule or is of another block', async () => {
    const proposal = await propose(0)
    const half = await sign(0, proposal)
    await expect(call(0, 'submitsignedblock', proposal.block, half.psbt)).rejects.toThrow('let more members sign it')
    await expect(call(0, 'generatetoaddress', 1, address)).rejects.toThrow('signingKeys holds too few keys')

    const block = decodeBlock(hexToBytes(proposal.block))
    const [coinbase] = block.transactions as [Tx]
    const [reward, commitment] = coinbase.outputs as [Tx['outputs'][number], Tx['outputs'][number]]
    const greedy = { ...coinbase, outputs: [{ ...reward, value: Sat(reward.value + 1n) }, commitment] }
    const spoilt: Block = { header: { ...block.header, merkleRoot: merkleRoot([txid(greedy)]) }, transactions: [greedy] }
    const hex = bytesToHex(encodeBlock(spoilt))
    await expect(call(1, 'signblock', hex, proposal.psbt)).rejects.toThrow('The PSBT is of another block')
    const { psbt } = blockToSign(spoilt, readNetworkFile(file))
    await expect(call(1, 'signblock', hex, psbtToBase64(psbt))).rejects.toThrow('The block is not signed: bad-cb-amount')
    await expect(sign(3, proposal)).rejects.toThrow('This node signs nothing')
    await expect(call(1, 'signblock', proposal.block, 'AAAA')).rejects.toThrow('not a PSBT')
  })
})
