import { bytesToHex, hexToBytes, utf8Encode } from '@leyden/codec'
import { describe, expect, it } from 'vitest'
import { createInitiator, createResponder, createTransport } from './noise.ts'

// BOLT 8 § Appendix A: Transport Test Vectors.
const initiatorSecret = new Uint8Array(32).fill(0x11)
const initiatorEphemeral = new Uint8Array(32).fill(0x12)
const responderSecret = new Uint8Array(32).fill(0x21)
const responderEphemeral = new Uint8Array(32).fill(0x22)
const initiatorPoint = '034f355bdcb7cc0af728ef3cceb9615d90684bb5b2ca5f859ab0f0b704075871aa'
const responderPoint = '028d7500dd4c12685d1f568b4c2b5048e8534b873319f3a8daa612b469132ec7f7'
const actOne = '00036360e856310ce5d294e8be33fc807077dc56ac80d95d9cd4ddbd21325eff73f70df6086551151f58b8afe6c195782c6a'
const actTwo = '0002466d7fcae563e5cb09a0d1870bb580344804617879a14949cf22285f1bae3f276e2470b93aac583c9ef6eafca3f730ae'
const actThree =
  '00b9e3a702e93e3a9948c2ed6e5fd7590a6e1c3a0344cfc9d5b57357049aa22355361aa02e55a8fc28fef5bd6d71ad0c38228dc68b1c466263b47fdf31e560e139ba'
const key1 = '969ab31b4d288cedf6218839b27a3e2140827047f2c0f01bf5c04435d43511a9'
const key2 = 'bb9020b8965f4df047e07f955f3c4b88418984aadc5cdb35096b9ea8fa5c3442'
const ck = '919219dbb2920afa8db80f9a51787a840bcf111ed8d588caf9ab4be716e42b01'

const initiator = () =>
  createInitiator({
    localSecret: initiatorSecret,
    ephemeralSecret: initiatorEphemeral,
    remotePoint: hexToBytes(responderPoint),
  })
const responder = () => createResponder({ localSecret: responderSecret, ephemeralSecret: responderEphemeral })
const afterActOne = () => {
  const side = responder()
  expect(side.readActOne(hexToBytes(actOne))).toEqual({ actTwo: hexToBytes(actTwo) })
  return side
}
/** `hex` with the byte at `at` replaced. */
const withByte = (hex: string, at: number, byte: string): Uint8Array =>
  hexToBytes(hex.slice(0, at * 2) + byte + hex.slice(at * 2 + 2))

describe('initiator', () => {
  it('completes the handshake', () => {
    const side = initiator()
    expect(bytesToHex(side.actOne)).toBe(actOne)
    expect(side.readActTwo(hexToBytes(actTwo))).toEqual({
      actThree: hexToBytes(actThree),
      keys: { sendingKey: hexToBytes(key1), receivingKey: hexToBytes(key2), chainingKey: hexToBytes(ck) },
    })
  })
  it.each([
    ['act2_bad_length', hexToBytes(actTwo).slice(0, 49)],
    ['act2_bad_version', withByte(actTwo, 0, '01')],
    ['act2_bad_pubkey', withByte(actTwo, 1, '04')],
    ['act2_bad_tag', withByte(actTwo, 49, 'af')],
  ])('ends with %s', (problem, act) => {
    expect(initiator().readActTwo(act)).toEqual({ problem })
  })
})

describe('responder', () => {
  it('completes the handshake and learns who the initiator is', () => {
    expect(afterActOne().readActThree(hexToBytes(actThree))).toEqual({
      remotePoint: hexToBytes(initiatorPoint),
      keys: { sendingKey: hexToBytes(key2), receivingKey: hexToBytes(key1), chainingKey: hexToBytes(ck) },
    })
  })
  it.each([
    ['act1_bad_length', hexToBytes(actOne).slice(0, 49)],
    ['act1_bad_version', withByte(actOne, 0, '01')],
    ['act1_bad_pubkey', withByte(actOne, 1, '04')],
    ['act1_bad_tag', withByte(actOne, 49, '6b')],
  ])('ends with %s', (problem, act) => {
    expect(responder().readActOne(act)).toEqual({ problem })
  })
  it.each([
    ['act3_bad_length', hexToBytes(actThree).slice(0, 65)],
    ['act3_bad_version', withByte(actThree, 0, '01')],
    ['act3_bad_ciphertext', withByte(actThree, 1, 'c9')],
    [
      'act3_bad_pubkey',
      hexToBytes(
        '00bfe3a702e93e3a9948c2ed6e5fd7590a6e1c3a0344cfc9d5b57357049aa2235536ad09a8ee351870c2bb7f78b754a26c6cef79a98d25139c856d7efd252c2ae73c',
      ),
    ],
    ['act3_bad_tag', withByte(actThree, 65, 'bb')],
  ])('ends with %s', (problem, act) => {
    expect(afterActOne().readActThree(act)).toEqual({ problem })
  })
})

describe('transport', () => {
  const sender = () =>
    createTransport({ sendingKey: hexToBytes(key1), receivingKey: hexToBytes(key2), chainingKey: hexToBytes(ck) })
  const receiver = () =>
    createTransport({ sendingKey: hexToBytes(key2), receivingKey: hexToBytes(key1), chainingKey: hexToBytes(ck) })

  it('encrypts, rotates keys after 500 and 1000 messages, and decrypts the same', () => {
    const expected = new Map([
      [0, 'cf2b30ddf0cf3f80e7c35a6e6730b59fe802473180f396d88a8fb0db8cbcf25d2f214cf9ea1d95'],
      [1, '72887022101f0b6753e0c7de21657d35a4cb2a1f5cde2650528bbc8f837d0f0d7ad833b1a256a1'],
      [500, '178cb9d7387190fa34db9c2d50027d21793c9bc2d40b1e14dcf30ebeeeb220f48364f7a4c68bf8'],
      [501, '1b186c57d44eb6de4c057c49940d79bb838a145cb528d6e8fd26dbe50a60ca2c104b56b60e45bd'],
      [1000, '4a2f3cc3b5e78ddb83dcb426d9863d9d9a723b0337c89dd0b005d89f8d3c05c52b76b29b740f09'],
      [1001, '2ecd8c8a5629d0d02ab457a0fdd0f7b90a192cd46be5ecb6ca570bfc5e268338b1a16cf4ef2d36'],
    ])
    const out = sender()
    const back = receiver()
    const seen = new Map<number, string>()
    for (let i = 0; i <= 1001; i++) {
      const packet = out.encrypt(utf8Encode('hello'))
      if (expected.has(i)) seen.set(i, bytesToHex(packet))
      expect(back.decryptLength(packet.subarray(0, 18))).toBe(5)
      expect(back.decryptBody(packet.subarray(18))).toEqual(utf8Encode('hello'))
    }
    expect(seen).toEqual(expected)
  })
  it('refuses a forged header and a forged body', () => {
    const packet = sender().encrypt(utf8Encode('hello'))
    const forged = packet.map((byte, i) => (i === 5 || i === 20 ? byte ^ 1 : byte))
    expect(receiver().decryptLength(forged.subarray(0, 18))).toBeUndefined()
    const side = receiver()
    expect(side.decryptLength(packet.subarray(0, 18))).toBe(5)
    expect(side.decryptBody(forged.subarray(18))).toBeUndefined()
  })
  it('S62: carries 65,535 bytes and refuses to send one more', () => {
    const packet = sender().encrypt(new Uint8Array(65_535))
    expect(packet.length).toBe(65_569)
    expect(receiver().decryptLength(packet.subarray(0, 18))).toBe(65_535)
    expect(() => sender().encrypt(new Uint8Array(65_536))).toThrow(RangeError)
  })
})
