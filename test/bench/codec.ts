/** Bytes on the wire and in the store: the message that every payment sends, its stored form, and a large transaction. */
import { decodeTx, encodeTx, Sat, type Tx, txid, Txid } from '@leyden/bitcoin'
import { packRecord, unpackRecord } from '@leyden/codec'
import { decodeMessage, encodeMessage, type Message } from '@leyden/lnwire'
import { heading, measure, type Settings, short, table } from './report.ts'

/** update_add_htlc as bytes: channel, id 7, 50,000 msat, hash, expiry 500, onion. BOLT 2 § Adding an HTLC. */
const addBytes = (): Uint8Array => {
  const bytes = new Uint8Array(2 + 32 + 8 + 8 + 32 + 4 + 1366).fill(0x5a)
  const view = new DataView(bytes.buffer)
  view.setUint16(0, 128)
  view.setBigUint64(34, 7n)
  view.setBigUint64(42, 50_000n)
  view.setUint32(82, 500)
  return bytes
}

const largeTx = (inputs: number): Tx => ({
  version: 2,
  inputs: Array.from({ length: inputs }, (_, i) => ({
    outpoint: { txid: Txid(i.toString(16).padStart(64, '0')), vout: i },
    scriptSig: new Uint8Array(0),
    sequence: 0xffff_fffd,
    witness: [new Uint8Array(72).fill(1), new Uint8Array(33).fill(2)],
  })),
  outputs: [{ value: Sat(1_000_000n), scriptPubKey: new Uint8Array(34).fill(3) }],
  lockTime: 0,
})

export const benchCodec = async (settings: Settings): Promise<void> => {
  heading('codec')
  const add = addBytes()
  const message = decodeMessage(add) as Message
  const record = packRecord(message)
  const tx = largeTx(250)
  const txBytes = encodeTx(tx)
  const sizes = [add.length, add.length, record.length, record.length, txBytes.length, txBytes.length, txBytes.length]
  const figures = await measure(settings, {
    'update_add_htlc encode': () => void encodeMessage(message),
    'update_add_htlc decode': () => void decodeMessage(add),
    'the same as a record, pack': () => void packRecord(message),
    'the same as a record, unpack': () => void unpackRecord(record),
    'transaction of 250 inputs encode': () => void encodeTx(tx),
    'transaction of 250 inputs decode': () => void decodeTx(txBytes),
    'transaction of 250 inputs txid': () => void txid({ ...tx }), // a fresh object: ids are remembered
  })
  table(
    ['', 'bytes', 'us', 'a second', 'MB/s'],
    figures.map(({ name, meanUs, perSecond }, i) => {
      const bytes = sizes[i] as number
      return [name, bytes.toLocaleString('en-US'), short(meanUs), short(perSecond), short((bytes * perSecond) / 1e6)]
    }),
  )
}
