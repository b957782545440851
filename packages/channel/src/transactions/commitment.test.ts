/**
 * BOLT 3 Appendices B, C and F. A vector's transactions are compared by wtxid, which covers every byte of them, signatures included
 * (RFC 6979 makes those reproducible, the secrets of both sides being known).
 */
import { bytesToHex, hexToBytes } from '@leyden/codec'
import { ecdsaSign, pointFromSecret, sha256 } from '@leyden/crypto'
import { BlockHeight, FeeratePerKw, Msat, Sat, SIGHASH, sighashV0, Txid, wtxid } from '@leyden/bitcoin'
import { PaymentHash } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { CommitmentFormat, Party } from '../state.ts'
import { buildCommitment, commitmentNumberOf, obscuringFactor, type CommitmentTerms } from './commitment.ts'
import { holderHtlcSighash, htlcTransaction, htlcWitness, otherHtlcSighash, withWitness } from './htlc-tx.ts'
import { commitmentKeys } from './keys.ts'
import { fundingOutputScript, fundingScript, fundingWitness } from './scripts.ts'
import { commitmentSighash } from './signatures.ts'
import type { SpecHtlc } from './spec.ts'
import { isTrimmed, trimThreshold } from './weight.ts'

const SECRETS = {
  localFunding: hexToBytes('30ff4956bbdd3222d44cc5e8a1261dab1e07957bdac5ae88fe3261ef321f3749'),
  remoteFunding: hexToBytes('1552dfba4f6cf29a62a0af13c8d6981d36d0ef8d61ba10fb0fe90da7634d7e13'),
  localHtlc: hexToBytes('bb13b121cdc357cd2e608b0aea294afca36e2b34cf958e2e6451a2f274694491'),
  remoteHtlc: hexToBytes('8deba327a7cc6d638ab0eb025770400a6184afcba6713c210d8d10e199ff2fda'),
}
const basepoint = (byte: string): Uint8Array => pointFromSecret(hexToBytes(byte.repeat(32)))
const POINT = hexToBytes('025f7117a78150fe2ef97db7cfc83bd57b2e2c0d0dd25eaf467a4a1c2a45ce1486')

const party = (payment: Uint8Array, funding: Uint8Array, dust: number): Party => ({
  fundingPubkey: pointFromSecret(funding),
  revocationBasepoint: basepoint('22'),
  paymentBasepoint: payment,
  delayedPaymentBasepoint: basepoint('33'),
  htlcBasepoint: payment,
  dustLimitSat: Sat(BigInt(dust)),
  maxHtlcValueInFlightMsat: Msat(0n),
  maxAcceptedHtlcs: 483,
  htlcMinimumMsat: Msat(0n),
  reserveSat: Sat(0n),
  toSelfDelayBlocks: 144,
})

/** Index in the spec: direction from the holder's view, satoshi, expiry, preimage byte. */
const HTLCS: readonly (readonly ['offered' | 'received', bigint, number, string])[] = [
  ['received', 1_000_000n, 500, '00'],
  ['received', 2_000_000n, 501, '01'],
  ['offered', 2_000_000n, 502, '02'],
  ['offered', 3_000_000n, 503, '03'],
  ['received', 4_000_000n, 504, '04'],
  ['offered', 5_000_000n, 506, '05'],
  ['offered', 5_000_001n, 505, '05'],
]
const preimageOf = (id: bigint): Uint8Array => hexToBytes(HTLCS[Number(id)]![3].repeat(32))
const htlcsOf = (ids: readonly number[]): SpecHtlc[] =>
  ids.map((id) => {
    const [direction, msat, expiry] = HTLCS[id]!
    const paymentHash = PaymentHash(bytesToHex(sha256(preimageOf(BigInt(id)))))
    return { direction, id: BigInt(id), amountMsat: Msat(msat), paymentHash, cltvExpiry: BlockHeight(expiry) }
  })
const SETS = { none: [], five: [0, 1, 2, 3, 4], twins: [1, 5, 6] }

interface Vector {
  readonly name: string
  /** msat of the holder and of the other. */
  readonly balances: readonly [bigint, bigint]
  readonly feerate: number
  readonly dust: number
  readonly htlcs: keyof typeof SETS
  readonly fee?: bigint
  readonly commitment: string
  readonly htlcTxs: readonly string[]
}

const STATIC_REMOTEKEY: readonly Vector[] = [
  {
    name: 'simple no HTLCs',
    balances: [7000000000n, 3000000000n],
    feerate: 15000,
    dust: 546,
    htlcs: 'none',
    fee: 10860n,
    commitment: 'a8caa7cea09ee20ebe214b589f7f7f0512371cec71df99e95c6f1dc4aef4a834',
    htlcTxs: [],
  },
  {
    name: 'all five HTLCs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 0,
    dust: 546,
    htlcs: 'five',
    fee: 0n,
    commitment: 'b3d8f956a320147f842b8547fe55da1a3233368b271e6f5f7e812a3f7744020b',
    htlcTxs: [
      'a487b97efd9bc29078952e3fbdec7c2048966c6a8759fc938a1593887ecd569b',
      '757d2fd20e13290b561b67397d6e06af13a17ae4c57134c485f7ac30dcb6a7bf',
      '3535ecccdc782f94eb8ba96a3aa3681f83b517eb88de0a5c1da8502394354af9',
      '93d240cc00f869cb449bf754f4d52a225ed751abc7ec37a9380e28af71bfaba2',
      '31f695bdc2b4a0276d773202c902af2619bd0f58f6c59ae939ecaaf21a75f4d7',
    ],
  },
  {
    name: 'seven outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 647,
    dust: 546,
    htlcs: 'five',
    fee: 1024n,
    commitment: '4f48a2a793ec15b59d0fc5b191f4b56356ff8b95c48f3120ac02ef7da7b7db6d',
    htlcTxs: [
      'af2366b8dc9dea34bcda3459eba3cf1212d8ea5c8a17b1502b8f35652a83e14a',
      'ec89233e8b9481564ef5319a91450e7396321698d47a78487b496521feaa9e57',
      '995f8a6b1878c9f0d96990f4cb481bae2f0911645d4d8a4738729eed9ddcf40c',
      '25556dbd9a0df9afed20791dc25a4059567a296eb7d9b64da4933866f81c1337',
      '92f4363a9dd9881cdcd9f0e0f2c7cd970261882e4708ec7e6daff67434004af4',
    ],
  },
  {
    name: 'six outputs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 648,
    dust: 546,
    htlcs: 'five',
    fee: 1914n,
    commitment: 'b063d188de8eda0da95d4a6cc0bfb84e7a28cc746188f356b5774986d9687f3e',
    htlcTxs: [
      '17293c88bba7a55b23072989e8ea0d8985c7b85181b2dd6d6258417eac88b278',
      '5fb2ad1936040c11ebc1851c30dde0ff689ce236ff77527bc0672e9259ca22ee',
      '8f4db5a581316f2f2d6a1f9e9d8924df73287e6c015dd7b3f8231d001f779c32',
      '69e52f039caa167e171f8d0511e7cdc99931c173197f575b399d5e105792e7ea',
    ],
  },
  {
    name: 'six outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 2069,
    dust: 546,
    htlcs: 'five',
    fee: 3921n,
    commitment: '6a9a63a181a21ac58a7f931b5a4407e90a1aadfd995c80349183b1e539046d1b',
    htlcTxs: [
      '993ddde918d67f59f0cb5134a68c829cacebc1df4c63ee79fa7ae41af94e4024',
      '73e13cac0bad22d618cb65f13d8b46121d771cc68b5f6ab72bb7eee666e905e1',
      '9b7fce5d155a9a43b4521c709a37cef9c3640ebb013036825491655cc7c7b431',
      '76817c06551c0644bfecc51495ebdb3b014093531490105c58ec84707f73d2fa',
    ],
  },
  {
    name: 'five outputs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 2070,
    dust: 546,
    htlcs: 'five',
    fee: 5566n,
    commitment: '20f05b33f7ceede7e0fa014c1a16694b6a97f0f6eca5927431caffbdfaf2a5fc',
    htlcTxs: [
      '39828df8d26b59a31d5f11e9ee70e506e7847e72b18633a78c69aadcdaf148d8',
      '096856ab5c719e90c85dca0ef64529c8d9fbe7e332c404a2dd94d328cd5c8bd7',
      '7599827dcba031ef8d614baa7da7fbd5fbaf8503f2f217e2950bd62cc4e67a3b',
    ],
  },
  {
    name: 'five outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 2194,
    dust: 546,
    htlcs: 'five',
    fee: 5720n,
    commitment: 'eededf6c81fa8833e7cee055e5036b0489a400d0d169a1ccec65dbfe0fa6d90a',
    htlcTxs: [
      '164256c5936036a179f7e22a7b6eff967b90cc7860318545510be1757e6159bb',
      '1646c7dd591eec3b74d42ca00e644d3a2d3e1bc036e3a2085ad1ba725a064862',
      'b99112c4d0357ae884d298801121cc74ab4245f2188d66ab44777115c143c442',
    ],
  },
  {
    name: 'four outputs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 2195,
    dust: 546,
    htlcs: 'five',
    fee: 7344n,
    commitment: 'd70a9e93fbb78cee42032969a0741aacb4f3467ec336c9b233212f7b23538469',
    htlcTxs: [
      '2f0c9ee070018dfb55b2ddd52d3fbc05bc83512204ebef9eb7d0b368b6ee3552',
      '212fd5a3e09b226c96806323b383b871423bbee7d1e89110d71542a32df262e5',
    ],
  },
  {
    name: 'four outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 3702,
    dust: 546,
    htlcs: 'five',
    fee: 8953n,
    commitment: '3f2bf9fb63e454c2302d5382ad6bf61fad9da00c18134712c87039359d2a0360',
    htlcTxs: [
      'c8dc1141325ad4546f23fa20b0e93cb9519de6c47724d0cb7861ddbae0d58cf1',
      '2ba2c1adfaa5a9f22b36090134df1832c18f3a8dc1fa1c9e4691642ef2302e43',
    ],
  },
  {
    name: 'three outputs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 3703,
    dust: 546,
    htlcs: 'five',
    fee: 11317n,
    commitment: '7981b2d9cbade19d8457a99ad26aeaf17c74fe7ac5cf08194957efc7369b3807',
    htlcTxs: ['34ff3817008678b66718358cfd5aceb586c3ba813d4df2d89868a2a42d5acd48'],
  },
  {
    name: 'three outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 4914,
    dust: 546,
    htlcs: 'five',
    fee: 12402n,
    commitment: 'bb7d6e78c3a28b683223a34fc4ac22faab10efe1a88b463278ee0667e6d7786e',
    htlcTxs: ['b8377eb771b5730015955e2fedbd5b5b6527bf6676337aa8c6c9dc85b647a6b1'],
  },
  {
    name: 'two outputs untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 4915,
    dust: 546,
    htlcs: 'five',
    fee: 15558n,
    commitment: '929ff77d4a2001e6bdcfe4ecd219b628320f2c3ff759b0100782ad2341a1cb1e',
    htlcTxs: [],
  },
  {
    name: 'two outputs untrimmed (maximum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 9651180,
    dust: 546,
    htlcs: 'five',
    fee: 6999454n,
    commitment: 'e6ccf571e2fe0c48c6be3c333ec0886b47658293679f2cdb2b9ec4a118fa5848',
    htlcTxs: [],
  },
  {
    name: 'one output untrimmed (minimum feerate)',
    balances: [6988000000n, 3000000000n],
    feerate: 9651181,
    dust: 546,
    htlcs: 'five',
    fee: 7000000n,
    commitment: '52de2c9c4985e007f7dc215b104b3490878700ca07672777ce3d3ff55189f5fc',
    htlcTxs: [],
  },
  {
    name: 'fee greater than funder amount',
    balances: [6988000000n, 3000000000n],
    feerate: 9651936,
    dust: 546,
    htlcs: 'five',
    fee: 7000000n,
    commitment: '52de2c9c4985e007f7dc215b104b3490878700ca07672777ce3d3ff55189f5fc',
    htlcTxs: [],
  },
  {
    name: '3 htlc outputs, 2 offered having the same amount and preimage',
    balances: [6987999999n, 3000000000n],
    feerate: 253,
    dust: 546,
    htlcs: 'twins',
    commitment: '330e89d4405f4bfec12f1a559b92dfa65db20806c9d692846a1d27cd5adcdd95',
    htlcTxs: [
      'f3a420c3cf36b05e14e75d993c1c6469e1ec32ef52c6e3bd7032adc33e651f1a',
      'f0218a7725aa1712f4f95c500ebe98e5c841f6fba13472a977aeeb3161215d26',
      '5f45b4b3d4cb6c9bc9f918850d93dbbc510cf6567cf5c09126c40c8357cd2898',
    ],
  },
]

const ANCHORS: readonly Vector[] = [
  {
    name: 'simple no HTLCs',
    balances: [7000000000n, 3000000000n],
    feerate: 15000,
    dust: 546,
    htlcs: 'none',
    commitment: '78fe2077bf54d9e3edfbb5e0d0fc94f85b54889d1f814a0bf9ecd8a5f97f6cb2',
    htlcTxs: [],
  },
  {
    name: 'simple no HTLCs and single anchor',
    balances: [10000000000n, 0n],
    feerate: 15000,
    dust: 546,
    htlcs: 'none',
    commitment: 'a6462d49bb46f0bf8d75fa2da9e4f8aa6aaf860457a13e16f1180547ae470e08',
    htlcTxs: [],
  },
  {
    name: 'seven outputs untrimmed',
    balances: [6988000000n, 3000000000n],
    feerate: 644,
    dust: 546,
    htlcs: 'five',
    commitment: '3c21131284edda060bc138c623293c9c003e278c6c2c1abe0627ac69496ba092',
    htlcTxs: [
      '7d01c4af71114aa5eb477110360d060fd92c78dae9c14123be1d3442bf3ffe94',
      '6f08f27291194168ca3537346fb6ff2d9e591ff155d8863e803bf3e4536f7f62',
      '24109a4dbc03cf321e681b75b0c99f21bd49090c5ed1fd5fe066390acf1cacb5',
      'dafa1489e9491f5f6752242ed283e3e2846f823d0f1464ce41aff0b5413635e8',
      '7e87cb32b2a66e9e261b034887635d791505be028c07606a4053f4d6e10f0695',
    ],
  },
  {
    name: 'six outputs untrimmed (minimum dust limit)',
    balances: [6988000000n, 3000000000n],
    feerate: 645,
    dust: 1001,
    htlcs: 'five',
    commitment: 'fe2c40fc79d41f6108d8484c41f00274e0dae4914e09bcdbf01de98f83c053e8',
    htlcTxs: [
      'a058d44e988932b15e062b021e95587673a391525a546b157cfee8e2b0bf7b5a',
      '2cffa00e32155ef1f9d6a9c5d7a76632dbf8d51a3b7214b903a8e39ba47024a8',
      'd739e29051871812b15728604f6000a5d705b534cdb21d3a6a019ff6094a9685',
      '89740918fda17a31ec48b70a9699b8a1238e5a6582471a60d8f9302ceecd618e',
    ],
  },
  {
    name: 'four outputs untrimmed (minimum dust limit)',
    balances: [6988000000n, 3000000000n],
    feerate: 2185,
    dust: 2001,
    htlcs: 'five',
    commitment: '4f5602a4a3a4a34d2b402ee6052f4af354e67b7934c98d9493bfd65bc50e6470',
    htlcTxs: [
      '7c767a1e3f152163c6afdda26e04c1bb0bc8e9a8bd29dc3e9117b7e6157e7152',
      '709e381746ce96a5ea789b927d4dbd65e250828c5e49f077bc688bae336c5dcc',
    ],
  },
  {
    name: 'three outputs untrimmed (minimum dust limit)',
    balances: [6988000000n, 3000000000n],
    feerate: 3687,
    dust: 3001,
    htlcs: 'five',
    commitment: '87c5b3eaee6a273aac945e8b34b42c8b8ea4ee2ee5541de6a42416600dc6a28e',
    htlcTxs: ['e7ce9b8dc05243a03e01d44752a37b46ac2c530e66181a2870b354483104fbc7'],
  },
  {
    name: 'two outputs untrimmed (minimum dust limit)',
    balances: [6988000000n, 3000000000n],
    feerate: 4894,
    dust: 4001,
    htlcs: 'five',
    commitment: '7aed4e156d0989b261c26662ee98f238b35fa191699c391c61a3c2c8e92b1552',
    htlcTxs: [],
  },
  {
    name: 'one output untrimmed (minimum dust limit)',
    balances: [6988000000n, 3000000000n],
    feerate: 6216010,
    dust: 4001,
    htlcs: 'five',
    commitment: '577d1a05d80f6d2388fc5b9ea7c29d11e0c788d55b7d078442bee9ceee843cf0',
    htlcTxs: [],
  },
  {
    name: '3 htlc outputs, 2 offered having the same amount and preimage',
    balances: [6987999999n, 3000000000n],
    feerate: 253,
    dust: 546,
    htlcs: 'twins',
    commitment: '721837cf92ce3c532aa5b2496bc0afeb4e6cc436693b00c705567c4a9010ab4a',
    htlcTxs: [
      '389ae6afcff073636ea0be053b863c99bf432ef9c11db0dce68662e6c513ef28',
      '1f7147e4616691560c0494d64bbdd0b9ca4086d8d74c02e79564d4e67761c0fc',
      'aae8515b1f353281bb97c30638da4097e577a21b3b19f65add85a7ac8cdf6719',
    ],
  },
]

const termsOf = (format: CommitmentFormat, vector: Omit<Vector, 'name' | 'commitment' | 'htlcTxs'>): CommitmentTerms => {
  const holderParty = party(basepoint('11'), SECRETS.localFunding, vector.dust)
  const otherParty = party(basepoint('44'), SECRETS.remoteFunding, vector.dust)
  return {
    format,
    holder: 'local',
    holderParty,
    otherParty,
    holderIsOpener: true,
    funding: {
      outpoint: { txid: Txid('8984484a580b825b9972d7adb15050b3ab624ccd731946b3eeddb92f4e7ef6be'), vout: 0 },
      capacitySat: Sat(10_000_000n),
    },
    number: 42,
    keys: commitmentKeys(holderParty, otherParty, POINT),
    spec: {
      toLocalMsat: vector.balances[0],
      toRemoteMsat: vector.balances[1],
      feeratePerKw: FeeratePerKw(vector.feerate),
      htlcs: htlcsOf(SETS[vector.htlcs]),
    },
  }
}

/** What the vector says, and what we make of its terms. */
const both = (format: CommitmentFormat, vector: Vector) => {
  const built = buildCommitment(termsOf(format, vector))
  const { holderParty, otherParty } = built.terms
  const hash = commitmentSighash(built)
  const signed = withWitness(
    built.tx,
    0,
    fundingWitness(
      { pubkey: holderParty.fundingPubkey, signature: ecdsaSign(hash, SECRETS.localFunding) },
      { pubkey: otherParty.fundingPubkey, signature: ecdsaSign(hash, SECRETS.remoteFunding) },
    ),
  )
  const htlcTxs = built.htlcs.map((htlc) => {
    const tx = htlcTransaction(built, htlc)
    const signatures = {
      other: ecdsaSign(otherHtlcSighash(built, htlc, tx), SECRETS.remoteHtlc),
      holder: ecdsaSign(holderHtlcSighash(htlc, tx), SECRETS.localHtlc),
    }
    const preimage = htlc.htlc.direction === 'received' ? preimageOf(htlc.htlc.id) : undefined
    return withWitness(tx, 0, htlcWitness(format, htlc, signatures, preimage))
  })
  const { name, commitment, htlcTxs: txs, fee } = vector
  const factor = obscuringFactor(holderParty.paymentBasepoint, otherParty.paymentBasepoint)
  return {
    expected: { name, commitment, htlcTxs: txs, fee, number: 42 },
    made: {
      name,
      commitment: wtxid(signed),
      htlcTxs: htlcTxs.map(wtxid),
      fee: fee === undefined ? undefined : built.feeSat,
      number: commitmentNumberOf(signed, factor),
    },
  }
}

describe('BOLT 3 Appendix B', () => {
  test('funding script, the lesser key first', () => {
    const [a, b] = [pointFromSecret(SECRETS.localFunding), pointFromSecret(SECRETS.remoteFunding)]
    expect(bytesToHex(fundingScript(b, a))).toBe(
      '5221023da092f6980e58d2c037173180e9a465476026ee50f96695963e8efe436f54eb21030e9f7b623d2ccc7c9bd44d66d5ce21ce504c0acf6385a132cec6d3c39fa711c152ae',
    )
    expect(fundingScript(a, b)).toEqual(fundingScript(b, a))
    expect(bytesToHex(fundingOutputScript(a, b))).toBe('0020c015c4a6be010e21657068fc2e6a9d02b27ebe4d490a25846f7237f104d1a3cd')
  })
})

describe('BOLT 3 Appendix C: keys', () => {
  test('the points of the commitment', () => {
    const { keys } = termsOf('static_remotekey', STATIC_REMOTEKEY[0]!)
    expect(Object.values(keys).map(bytesToHex)).toEqual([
      '025f7117a78150fe2ef97db7cfc83bd57b2e2c0d0dd25eaf467a4a1c2a45ce1486',
      '0212a140cd0c6539d07cd08dfe09984dec3251ea808b892efeac3ede9402bf2b19',
      '03fd5960528dc152014952efdb702a88f71e3c1653b2314431701ec77e57fde83c',
      '030d417a46946384f88d5f3337267c5e579765875dc4daca813e21734b140639e7',
      '0394854aa6eab5b2a8122cc726e9dded053a2184d88256816826d6231c068d4a5b',
      '032c0b7cf95324a07d05398b240174dc0c2be444d96b159aa6c7f7b1e668680991',
    ])
    expect(obscuringFactor(basepoint('11'), basepoint('44'))).toBe(0x2bb038521914n)
  })
})

describe('BOLT 3 Appendix C: static_remotekey', () => {
  test.each(STATIC_REMOTEKEY)('$name', (vector) => {
    const { expected, made } = both('static_remotekey', vector)
    expect(made).toEqual(expected)
  })
})

describe('BOLT 3 Appendix F: anchors, zero-fee HTLC transactions', () => {
  test.each(ANCHORS)('$name', (vector) => {
    const { expected, made } = both('anchors', vector)
    expect(made).toEqual(expected)
  })
})

describe('trimming', () => {
  const one = (format: CommitmentFormat, direction: 'offered' | 'received', msat: bigint, feerate: number, dust: number) => {
    const terms = termsOf(format, { balances: [5_000_000_000n, 3_000_000_000n], feerate, dust, htlcs: 'none' })
    const htlc = { ...htlcsOf([0])[0]!, direction, amountMsat: Msat(msat) }
    return buildCommitment({ ...terms, spec: { ...terms.spec, htlcs: [htlc] } })
  }

  test('S30: an HTLC that is worth just the dust limit after its fee is kept, one satoshi less is trimmed', () => {
    // BOLT 3 § Fee Calculation, example: 546 + 3315 for offered, 546 + 3515 for received at 5000 sat per 1000 weight
    expect(one('static_remotekey', 'offered', 3_861_000n, 5000, 546).htlcs.length).toBe(1)
    expect(one('static_remotekey', 'offered', 3_860_999n, 5000, 546).htlcs.length).toBe(0)
    expect(one('static_remotekey', 'received', 4_061_000n, 5000, 546).htlcs.length).toBe(1)
    expect(one('static_remotekey', 'received', 4_060_999n, 5000, 546).htlcs.length).toBe(0)
    expect(one('anchors', 'received', 546_000n, 5000, 546).htlcs.length).toBe(1)
    expect(one('anchors', 'received', 545_999n, 5000, 546).trimmed.length).toBe(1)
  })

  test('S29: what counts as trimmed is exactly what has no output, and fee and outputs make up the capacity', () => {
    fc.assert(
      fc.property(
        fc.constantFrom<CommitmentFormat>('static_remotekey', 'anchors'),
        fc.constantFrom('offered' as const, 'received' as const),
        fc.integer({ min: 253, max: 20_000 }),
        fc.integer({ min: 354, max: 3_000 }),
        fc.bigInt({ min: -2_000n, max: 2_000n }),
        (format, direction, feerate, dust, offset) => {
          const threshold = trimThreshold(format, direction, FeeratePerKw(feerate), Sat(BigInt(dust)))
          const amountMsat = threshold * 1000n + offset
          const built = one(format, direction, amountMsat, feerate, dust)
          const trimmed = isTrimmed(format, { direction, amountMsat }, FeeratePerKw(feerate), Sat(BigInt(dust)))
          expect(trimmed).toBe(offset < 0n)
          expect(built.htlcs.length).toBe(trimmed ? 0 : 1)
          expect(built.trimmed.length).toBe(trimmed ? 1 : 0)
          expect(built.tx.outputs.reduce((sum, { value }) => sum + value, 0n) + built.feeSat).toBe(10_000_000n)
        },
      ),
    )
  })
})

test('the other side signs SINGLE|ANYONECANPAY under anchors', () => {
  const built = buildCommitment(termsOf('anchors', ANCHORS[2]!))
  const htlc = built.htlcs[0]!
  const tx = htlcTransaction(built, htlc)
  expect(otherHtlcSighash(built, htlc)).toEqual(
    sighashV0(tx, 0, htlc.witnessScript, htlc.valueSat, SIGHASH.single | SIGHASH.anyoneCanPay),
  )
})

test('S4: HTLCs that are alike in everything but the id have outputs of their own, in the order of ids however they arrived', () => {
  const terms = termsOf('anchors', { balances: [5_000_000_000n, 3_000_000_000n], feerate: 253, dust: 546, htlcs: 'none' })
  const twin = (id: bigint): SpecHtlc => ({ ...htlcsOf([5])[0]!, id })
  const build = (ids: readonly bigint[]) =>
    buildCommitment({ ...terms, spec: { ...terms.spec, htlcs: ids.map(twin) } }).htlcs.map(({ htlc }) => htlc.id)
  expect(build([3n, 1n, 2n])).toEqual([1n, 2n, 3n])
})
