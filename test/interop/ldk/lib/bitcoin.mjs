// The few Bitcoin primitives the peer needs, on node:crypto alone: transaction
// and block parsing, addresses, and P2WPKH signing of the PSBTs LDK's `Wallet`
// helper hands out (for anchor bumps). Not a wallet library; regtest use only.
import crypto from 'node:crypto'

export const hex = (b) => Buffer.from(b).toString('hex')
export const unhex = (s) => {
  if (typeof s !== 'string' || s.length % 2 || /[^0-9a-fA-F]/.test(s)) throw new Error(`not hex: ${String(s).slice(0, 40)}`)
  return new Uint8Array(Buffer.from(s, 'hex'))
}
export const sha256 = (b) => crypto.createHash('sha256').update(b).digest()
export const sha256d = (b) => sha256(sha256(b))
export const hash160 = (b) => crypto.createHash('ripemd160').update(sha256(b)).digest()
/** Internal byte order <-> the reversed order block explorers and RPC print. */
export const revHex = (b) => hex(Uint8Array.from(b).reverse())
export const unrevHex = (s) => unhex(s).reverse()

class Reader {
  constructor(buf, off = 0) {
    this.b = Buffer.from(buf.buffer, buf.byteOffset, buf.length)
    this.o = off
  }
  bytes(n) {
    if (this.o + n > this.b.length) throw new Error('unexpected end of data')
    const r = this.b.subarray(this.o, this.o + n)
    this.o += n
    return r
  }
  u8() {
    return this.bytes(1)[0]
  }
  u16() {
    return this.bytes(2).readUInt16LE()
  }
  u32() {
    return this.bytes(4).readUInt32LE()
  }
  u64() {
    return this.bytes(8).readBigUInt64LE()
  }
  varint() {
    const f = this.u8()
    if (f < 0xfd) return f
    if (f === 0xfd) return this.u16()
    if (f === 0xfe) return this.u32()
    return Number(this.u64())
  }
  varbytes() {
    return this.bytes(this.varint())
  }
}
const u32 = (n) => {
  const b = Buffer.alloc(4)
  b.writeUInt32LE(n >>> 0)
  return b
}
const u64 = (n) => {
  const b = Buffer.alloc(8)
  b.writeBigUInt64LE(BigInt(n))
  return b
}
export const varint = (n) => {
  if (n < 0xfd) return Buffer.from([n])
  if (n <= 0xffff) {
    const b = Buffer.alloc(3)
    b[0] = 0xfd
    b.writeUInt16LE(n, 1)
    return b
  }
  const b = Buffer.alloc(5)
  b[0] = 0xfe
  b.writeUInt32LE(n, 1)
  return b
}
const varbytes = (b) => Buffer.concat([varint(b.length), b])

export function readTx(r) {
  const start = r.o
  const tx = { version: r.u32(), vin: [], vout: [], locktime: 0 }
  let segwit = false
  if (r.b[r.o] === 0 && r.b[r.o + 1] === 1) {
    segwit = true
    r.o += 2
  }
  for (let n = r.varint(); n > 0; n--) {
    tx.vin.push({
      txidLE: Buffer.from(r.bytes(32)),
      vout: r.u32(),
      scriptSig: Buffer.from(r.varbytes()),
      sequence: r.u32(),
      witness: [],
    })
  }
  for (let n = r.varint(); n > 0; n--) tx.vout.push({ value: r.u64(), script: Buffer.from(r.varbytes()) })
  if (segwit) for (const i of tx.vin) for (let n = r.varint(); n > 0; n--) i.witness.push(Buffer.from(r.varbytes()))
  tx.locktime = r.u32()
  tx.raw = r.b.subarray(start, r.o)
  tx.txid = revHex(sha256d(serializeTx(tx, false)))
  return tx
}
export const parseTx = (buf) => readTx(new Reader(buf))

export function serializeTx(tx, witness = true) {
  const useWitness = witness && tx.vin.some((i) => i.witness.length)
  const p = [u32(tx.version)]
  if (useWitness) p.push(Buffer.from([0, 1]))
  p.push(varint(tx.vin.length))
  for (const i of tx.vin) p.push(i.txidLE, u32(i.vout), varbytes(i.scriptSig), u32(i.sequence))
  p.push(varint(tx.vout.length))
  for (const o of tx.vout) p.push(u64(o.value), varbytes(o.script))
  if (useWitness)
    for (const i of tx.vin) {
      p.push(varint(i.witness.length))
      for (const w of i.witness) p.push(varbytes(w))
    }
  p.push(u32(tx.locktime))
  return Buffer.concat(p)
}

export function parseBlock(buf) {
  const r = new Reader(buf)
  const header = Buffer.from(r.bytes(80))
  const txs = []
  for (let n = r.varint(); n > 0; n--) txs.push(readTx(r))
  return { ...parseHeader(header), txs }
}
export function parseHeader(header) {
  return {
    header: Buffer.from(header),
    hash: revHex(sha256d(header)),
    prev: revHex(header.subarray(4, 36)),
    time: Buffer.from(header).readUInt32LE(68),
  }
}

// ---- addresses -----------------------------------------------------------
const CH = 'qpzry9x8gf2tvdw0s3jn54khce6mua7l'
const HRP = { regtest: 'bcrt', bitcoin: 'bc', testnet: 'tb', signet: 'tb' }
function polymod(v) {
  const G = [0x3b6a57b2, 0x26508e6d, 0x1ea119fa, 0x3d4233dd, 0x2a1462b3]
  let c = 1
  for (const x of v) {
    const t = c >>> 25
    c = ((c & 0x1ffffff) << 5) ^ x
    for (let i = 0; i < 5; i++) if ((t >> i) & 1) c ^= G[i]
  }
  return c >>> 0
}
const expand = (h) => [...[...h].map((c) => c.charCodeAt(0) >> 5), 0, ...[...h].map((c) => c.charCodeAt(0) & 31)]
function bits(data, from, to, pad) {
  let acc = 0,
    n = 0
  const out = [],
    max = (1 << to) - 1
  for (const v of data) {
    acc = (acc << from) | v
    n += from
    while (n >= to) {
      n -= to
      out.push((acc >> n) & max)
    }
    acc &= (1 << n) - 1
  }
  if (pad) {
    if (n) out.push((acc << (to - n)) & max)
  } else if (n >= from || (acc << (to - n)) & max) throw new Error('bad bech32 padding')
  return out
}
export function scriptToAddress(script, network = 'regtest') {
  const s = Buffer.from(script)
  const ver = s[0] === 0 ? 0 : s[0] - 0x50
  if (s.length < 4 || s.length > 42 || s[1] !== s.length - 2 || ver < 0 || ver > 16) return null
  const hrp = HRP[network],
    data = [ver, ...bits(s.subarray(2), 8, 5, true)]
  const chk = polymod([...expand(hrp), ...data, 0, 0, 0, 0, 0, 0]) ^ (ver === 0 ? 1 : 0x2bc830a3)
  return hrp + '1' + [...data, ...[0, 1, 2, 3, 4, 5].map((i) => (chk >>> (5 * (5 - i))) & 31)].map((x) => CH[x]).join('')
}
export function addressToScript(addr) {
  if (/^[0-9a-fA-F]+$/.test(addr) && addr.length % 2 === 0 && addr.length >= 44) return unhex(addr) // a raw script
  const low = addr.toLowerCase(),
    sep = low.lastIndexOf('1')
  if (sep > 0 && Object.values(HRP).includes(low.slice(0, sep))) {
    const d = [...low.slice(sep + 1)].map((c) => CH.indexOf(c))
    if (d.includes(-1)) throw new Error('bad bech32 character')
    const ver = d[0]
    if (polymod([...expand(low.slice(0, sep)), ...d]) !== (ver === 0 ? 1 : 0x2bc830a3)) throw new Error('bad bech32 checksum')
    const prog = bits(d.slice(1, -6), 5, 8, false)
    return new Uint8Array([ver === 0 ? 0 : 0x50 + ver, prog.length, ...prog])
  }
  // base58check: P2PKH / P2SH
  const A = '123456789ABCDEFGHJKLMNPQRSTUVWXYZabcdefghijkmnopqrstuvwxyz'
  let n = 0n
  for (const c of addr) {
    const i = A.indexOf(c)
    if (i < 0) throw new Error('bad address')
    n = n * 58n + BigInt(i)
  }
  const b = Buffer.from(n.toString(16).padStart(50, '0'), 'hex')
  if (!sha256d(b.subarray(0, 21)).subarray(0, 4).equals(b.subarray(21))) throw new Error('bad base58 checksum')
  if (b[0] === 0x6f || b[0] === 0)
    return Buffer.concat([Buffer.from([0x76, 0xa9, 0x14]), b.subarray(1, 21), Buffer.from([0x88, 0xac])])
  return Buffer.concat([Buffer.from([0xa9, 0x14]), b.subarray(1, 21), Buffer.from([0x87])])
}

// ---- keys and P2WPKH signing ----------------------------------------------
const N = 0xfffffffffffffffffffffffffffffffebaaedce6af48a03bbfd25e8cd0364141n
export class P2wpkhKey {
  constructor(secret32) {
    const ecdh = crypto.createECDH('secp256k1')
    ecdh.setPrivateKey(Buffer.from(secret32))
    this.pub = ecdh.getPublicKey(null, 'compressed')
    const full = ecdh.getPublicKey(null, 'uncompressed')
    const b64 = (b) => Buffer.from(b).toString('base64url')
    this.key = crypto.createPrivateKey({
      format: 'jwk',
      key: { kty: 'EC', crv: 'secp256k1', d: b64(secret32), x: b64(full.subarray(1, 33)), y: b64(full.subarray(33, 65)) },
    })
    this.pkh = hash160(this.pub)
    this.script = Buffer.concat([Buffer.from([0, 20]), this.pkh])
  }
  /** DER, low-S, over sha256(sha256(preimage)). OpenSSL hashes once, we hash once before. */
  signPreimage(preimage) {
    const rs = crypto.sign('sha256', sha256(preimage), { key: this.key, dsaEncoding: 'ieee-p1363' })
    let s = BigInt('0x' + rs.subarray(32).toString('hex'))
    if (s > N / 2n) s = N - s
    const int = (b) => {
      let i = 0
      while (i < b.length - 1 && b[i] === 0) i++
      b = b.subarray(i)
      if (b[0] & 0x80) b = Buffer.concat([Buffer.from([0]), b])
      return Buffer.concat([Buffer.from([2, b.length]), b])
    }
    const body = Buffer.concat([int(rs.subarray(0, 32)), int(Buffer.from(s.toString(16).padStart(64, '0'), 'hex'))])
    return Buffer.concat([Buffer.from([0x30, body.length]), body])
  }
  /** Signs the inputs of `tx` whose prevout (prevouts[i] = {value, script} or null) is ours. */
  signInputs(tx, prevouts) {
    const hashPrevouts = sha256d(Buffer.concat(tx.vin.map((i) => Buffer.concat([i.txidLE, u32(i.vout)]))))
    const hashSequence = sha256d(Buffer.concat(tx.vin.map((i) => u32(i.sequence))))
    const hashOutputs = sha256d(Buffer.concat(tx.vout.map((o) => Buffer.concat([u64(o.value), varbytes(o.script)]))))
    let signed = 0
    tx.vin.forEach((inp, i) => {
      const po = prevouts[i]
      if (!po || !this.script.equals(Buffer.from(po.script))) return
      const code = Buffer.concat([Buffer.from([0x19, 0x76, 0xa9, 0x14]), this.pkh, Buffer.from([0x88, 0xac])])
      const pre = Buffer.concat([
        u32(tx.version),
        hashPrevouts,
        hashSequence,
        inp.txidLE,
        u32(inp.vout),
        code,
        u64(po.value),
        u32(inp.sequence),
        hashOutputs,
        u32(tx.locktime),
        u32(1),
      ])
      inp.witness = [Buffer.concat([this.signPreimage(pre), Buffer.from([1])]), this.pub]
      signed++
    })
    return signed
  }
}

/** PSBT (v0): the unsigned transaction, and each input's witness_utxo / final_scriptwitness. */
export function parsePsbt(buf) {
  const r = new Reader(buf)
  if (!r.bytes(5).equals(Buffer.from('70736274ff', 'hex'))) throw new Error('not a PSBT')
  const map = () => {
    const m = new Map()
    for (;;) {
      const kl = r.varint()
      if (!kl) return m
      const k = hex(r.bytes(kl))
      m.set(k, Buffer.from(r.varbytes()))
    }
  }
  const g = map()
  const tx = parseTx(g.get('00'))
  const prevouts = []
  for (let i = 0; i < tx.vin.length; i++) {
    const m = map()
    let po = null
    if (m.has('01')) {
      const rr = new Reader(m.get('01'))
      po = { value: rr.u64(), script: Buffer.from(rr.varbytes()) }
    } else if (m.has('00')) {
      po = parseTx(m.get('00')).vout[tx.vin[i].vout]
    }
    if (m.has('08')) {
      const rr = new Reader(m.get('08'))
      for (let n = rr.varint(); n > 0; n--) tx.vin[i].witness.push(Buffer.from(rr.varbytes()))
    }
    prevouts.push(po)
  }
  return { tx, prevouts }
}
