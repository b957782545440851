/** BOLT 11: the examples of the specification, valid and not (CC-BY 4.0), then one example per rule. */
import { bytesToHex, concat, hexToBytes } from '@leyden/codec'
import { Msat, networks } from '@leyden/bitcoin'
import { ecdsaSignRecoverable, pointFromSecret } from '@leyden/crypto'
import { formatScid, nodeIdFromPoint, PaymentHash, scid } from '@leyden/lnwire'
import * as fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import {
  decodeInvoice,
  encodeInvoice,
  type Invoice,
  type InvoiceFields,
  invoiceExpiry,
  isInvoiceProblem,
  type SignInvoice,
} from './bolt11.ts'
import {
  formatAmount,
  formatInvoiceText,
  invoiceHash,
  type InvoiceProblemCode,
  type InvoiceText,
  parseAmount,
  parseInvoiceText,
} from './bolt11-text.ts'

const VECTOR_SECRET = 'e126f68f7eafcc8b74f54d269fe206be715000f94dac067d1c04a8ca3b2db734'

const VALID: readonly (readonly [about: string, text: string])[] = [
  [
    'Please make a donation of any amount using payment_hash 0001020304050607080900010203040506',
    'lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap9us6v52vjjsrvywa6rt52cm9r9zqt8r2t7mlcwspyetp5h2tztugp9lfyql',
  ],
  [
    'Please send $3 for a cup of coffee to the same peer, within one minute',
    'lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpu9qrsgquk0rl77nj30yxdy8j9vdx85fkpmdla2087ne0xh8nhedh8w27kyke0lp53ut353s06fv3qfegext0eh0ymjpf39tuven09sam30g4vgpfna3rh',
  ],
  [
    'Please send 0.0025 BTC for a cup of nonsense (ナンセンス 1杯) to the same peer, within one minut',
    'lnbc2500u1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpu9qrsgqhtjpauu9ur7fw2thcl4y9vfvh4m9wlfyz2gem29g5ghe2aak2pm3ps8fdhtceqsaagty2vph7utlgj48u0ged6a337aewvraedendscp573dxr',
  ],
  [
    'Now send $24 for an entire list of things (hashed)',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp7ynn44',
  ],
  [
    'The same, on testnet, with a fallback address mk2QpYatsKicvFVuTAQLBryyccRXMUaGHP',
    'lntb20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygshp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqfpp3x9et2e20v6pu37c5d9vax37wxq72un989qrsgqdj545axuxtnfemtpwkc45hx9d2ft7x04mt8q7y6t0k2dge9e7h8kpy9p34ytyslj3yu569aalz2xdk8xkd7ltxqld94u8h2esmsmacgpghe9k8',
  ],
  [
    'On mainnet, with fallback address 1RustyRX2oai4EYYDpQGWvEL62BBGqN9T with extra routing inf',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqsfpp3qjmp7lwpagxun9pygexvgpjdc4jdj85fr9yq20q82gphp2nflc7jtzrcazrra7wwgzxqc8u7754cdlpfrmccae92qgzqvzq2ps8pqqqqqqpqqqqq9qqqvpeuqafqxu92d8lr6fvg0r5gv0heeeqgcrqlnm6jhphu9y00rrhy4grqszsvpcgpy9qqqqqqgqqqqq7qqzq9qrsgqdfjcdk6w3ak5pca9hwfwfh63zrrz06wwfya0ydlzpgzxkn5xagsqz7x9j4jwe7yj7vaf2k9lqsdk45kts2fd0fkr28am0u4w95tt2nsq76cqw0',
  ],
  [
    'On mainnet, with fallback (P2SH) address 3EktnHQD7RiAE6uzMj2ZifT9YgRrkSgzQX',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygshp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqfppj3a24vwu6r8ejrss3axul8rxldph2q7z99qrsgqz6qsgww34xlatfj6e3sngrwfy3ytkt29d2qttr8qz2mnedfqysuqypgqex4haa2h8fx3wnypranf3pdwyluftwe680jjcfp438u82xqphf75ym',
  ],
  [
    'On mainnet, with fallback (P2WPKH) address bc1qw508d6qejxtdg4y5r3zarvary0c5xw7kv8f3t4',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygshp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqfppqw508d6qejxtdg4y5r3zarvary0c5xw7k9qrsgqt29a0wturnys2hhxpner2e3plp6jyj8qx7548zr2z7ptgjjc7hljm98xhjym0dg52sdrvqamxdezkmqg4gdrvwwnf0kv2jdfnl4xatsqmrnsse',
  ],
  [
    'On mainnet, with fallback (P2WSH) address bc1qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccef',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygshp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqfp4qrp33g0q5c5txsp9arysrx4k6zdkfs4nce4xj0gdcccefvpysxf3q9qrsgq9vlvyj8cqvq6ggvpwd53jncp9nwc47xlrsnenq2zp70fq83qlgesn4u3uyf4tesfkkwwfg3qs54qe426hp3tz7z6sweqdjg05axsrjqp9yrrwc',
  ],
  [
    'On mainnet, with fallback (P2TR) address',
    'lnbc20m1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqsfp4pptdvg0d2nj99568qn6ssdy4cygnwuxgw2ukmnwgwz7jpqjz2kszs9qrsgqy606dznq28exnydt2r4c29y56xjtn3sk4mhgjtl4pg2y4ar3249rq4ajlmj9jy8zvlzw7cr8mggqzm842xfr0v72rswzq9xvr4hknfsqwmn6xd',
  ],
  [
    'Please send 0.00967878534 BTC for a list of items within one week, amount in pico-BTC',
    'lnbc9678785340p1pwmna7lpp5gc3xfm08u9qy06djf8dfflhugl6p7lgza6dsjxq454gxhj9t7a0sd8dgfkx7cmtwd68yetpd5s9xar0wfjn5gpc8qhrsdfq24f5ggrxdaezqsnvda3kkum5wfjkzmfqf3jkgem9wgsyuctwdus9xgrcyqcjcgpzgfskx6eqf9hzqnteypzxz7fzypfhg6trddjhygrcyqezcgpzfysywmm5ypxxjemgw3hxjmn8yptk7untd9hxwg3q2d6xjcmtv4ezq7pqxgsxzmnyyqcjqmt0wfjjq6t5v4khxsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygsxqyjw5qcqp2rzjq0gxwkzc8w6323m55m4jyxcjwmy7stt9hwkwe2qxmy8zpsgg7jcuwz87fcqqeuqqqyqqqqlgqqqqn3qq9q9qrsgqrvgkpnmps664wgkp43l22qsgdw4ve24aca4nymnxddlnp8vh9v2sdxlu5ywdxefsfvm0fq3sesf08uf6q9a2ke0hc9j6z6wlxg5z5kqpu2v9wz',
  ],
  [
    'Please send $30 for coffee beans to the same peer, which supports features 8, 14 and 99, u',
    'lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqqqqqqqsgq2a25dxl5hrntdtn6zvydt7d66hyzsyhqs4wdynavys42xgl6sgx9c4g7me86a27t07mdtfry458rtjr0v92cnmswpsjscgt2vcse3sgpz3uapa',
  ],
  [
    'Same, but all upper case.',
    'LNBC25M1PVJLUEZPP5QQQSYQCYQ5RQWZQFQQQSYQCYQ5RQWZQFQQQSYQCYQ5RQWZQFQYPQDQ5VDHKVEN9V5SXYETPDEESSP5ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYG3ZYGS9Q5SQQQQQQQQQQQQQQQQSGQ2A25DXL5HRNTDTN6ZVYDT7D66HYZSYHQS4WDYNAVYS42XGL6SGX9C4G7ME86A27T07MDTFRY458RTJR0V92CNMSWPSJSCGT2VCSE3SGPZ3UAPA',
  ],
  [
    'Same, but including fields which must be ignored.',
    'lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q5sqqqqqqqqqqqqqqqqsgq2qrqqqfppnqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqppnqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqpp4qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqhpnqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqhp4qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqspnqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqsp4qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnp5qqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqnpkqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqqz599y53s3ujmcfjp5xrdap68qxymkqphwsexhmhr8wdz5usdzkzrse33chw6dlp3jhuhge9ley7j2ayx36kawe7kmgg8sv5ugdyusdcqzn8z9x',
  ],
  [
    'Please send 0.01 BTC with payment metadata 0x01fafaf0',
    'lnbc10m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdp9wpshjmt9de6zqmt9w3skgct5vysxjmnnd9jx2mq8q8a04uqsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q2gqqqqqqsgq7hf8he7ecf7n4ffphs6awl9t6676rrclv9ckg3d3ncn7fct63p6s365duk5wrk202cfy3aj5xnnp5gs3vrdvruverwwq7yzhkf5a3xqpd05wjc',
  ],
  [
    'Public-key recovery with high-S signature',
    'lnbc1pvjluezsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygspp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaq9qrsgq357wnc5r2ueh7ck6q93dj32dlqnls087fxdwk8qakdyafkq3yap2r09nt4ndd0unm3z9u5t48y6ucv4r5sg7lk98c77ctvjczkspk5qprc90gx',
  ],
]

const INVALID: readonly (readonly [about: string, problem: InvoiceProblemCode, text: string])[] = [
  [
    'Same, but adding invalid unknown feature 100',
    'unknown_feature',
    'lnbc25m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5vdhkven9v5sxyetpdeessp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9q4psqqqqqqqqqqqqqqqqsgqtqyx5vggfcsll4wu246hz02kp85x4katwsk9639we5n5yngc3yhqkm35jnjw4len8vrnqnf5ejh0mzj9n3vz2px97evektfm2l6wqccp3y7372',
  ],
  [
    'Bech32 checksum is invalid.',
    'not_bech32',
    'lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrnt',
  ],
  [
    'Malformed bech32 string (no 1)',
    'not_bech32',
    'pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny',
  ],
  [
    'Malformed bech32 string (mixed case)',
    'not_bech32',
    'LNBC2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpquwpc4curk03c9wlrswe78q4eyqc7d8d0xqzpuyk0sg5g70me25alkluzd2x62aysf2pyy8edtjeevuv4p2d5p76r4zkmneet7uvyakky2zr4cusd45tftc9c5fh0nnqpnl2jfll544esqchsrny',
  ],
  [
    'Signature is not recoverable.',
    'invalid_signature',
    'lnbc2500u1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpusp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9qrsgqwgt7mcn5yqw3yx0w94pswkpq6j9uh6xfqqqtsk4tnarugeektd4hg5975x9am52rz4qskukxdmjemg92vvqz8nvmsye63r5ykel43pgz7zq0g2',
  ],
  [
    'String is too short.',
    'too_short',
    'lnbc1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6na6hlh',
  ],
  [
    'Invalid multiplier',
    'invalid_amount',
    'lnbc2500x1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpusp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9qrsgqrrzc4cvfue4zp3hggxp47ag7xnrlr8vgcmkjxk3j5jqethnumgkpqp23z9jclu3v0a7e0aruz366e9wqdykw6dxhdzcjjhldxq0w6wgqcnu43j',
  ],
  [
    'Invalid sub-millisatoshi precision.',
    'invalid_amount',
    'lnbc2500000001p1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdq5xysxxatsyp3k7enxv4jsxqzpusp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9qrsgq0lzc236j96a95uv0m3umg28gclm5lqxtqqwk32uuk4k6673k6n5kfvx3d2h8s295fad45fdhmusm8sjudfhlf6dcsxmfvkeywmjdkxcp99202x',
  ],
  [
    'Missing required `s` field.',
    'missing_field',
    'lnbc20m1pvjluezpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqhp58yjmdan79s6qqdhdzgynm4zwqd5d7xmw5fk98klysy043l2ahrqs9qrsgq7ea976txfraylvgzuxs8kgcw23ezlrszfnh8r6qtfpr6cxga50aj6txm9rxrydzd06dfeawfk6swupvz4erwnyutnjq7x39ymw6j38gp49qdkj',
  ],
  [
    "Non canonical signature (high-S) with 'n' field defined",
    'invalid_signature',
    'lnbc25m1p70xwfzpp5qqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqqqsyqcyq5rqwzqfqypqdpl2pkx2ctnv5sxxmmwwd5kgetjypeh2ursdae8g6twvus8g6rfwvs8qun0dfjkxaqnp4q0n326hr8v9zprg8gsvezcch06gfaqqhde2aj730yg0durunfhv66sp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygs9qrsgqsp5zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zyg3zygsp5cfzp9ugllvk03rltd6hvndxj26ux6gcxc5azyxk060rj9tzghct5zvjlps76gx8wpq5yuu79688k8gnm2c0al6v608s96l0xzrrlqqwnzxmu',
  ],
]

const secret = hexToBytes(VECTOR_SECRET)
const sign: SignInvoice = (hash) => ecdsaSignRecoverable(hash, secret)
const payee = nodeIdFromPoint(pointFromSecret(secret))
/** Examples that another key signed. */
const PAYEES: readonly (readonly [about: string, payee: string])[] = [
  ['high-S', '02d0139ce7427d6dfffd26a326c18be754ef1e64672b42694ba5b23ef6e6e7803d'],
]
const PREFIXES = ['bc', 'tb', 'tbs', 'bcrt']

const valid = (text: string): Invoice => {
  const invoice = decodeInvoice(text)
  if (isInvoiceProblem(invoice)) throw new Error(`${invoice.problem}: ${invoice.detail}`)
  return invoice
}
const parts = (text: string): InvoiceText => {
  const parsed = parseInvoiceText(text, PREFIXES)
  if ('problem' in parsed) throw new Error(parsed.problem)
  return parsed
}
const example = (about: string): Invoice => valid(VALID.find(([name]) => name.includes(about))?.[1] ?? '')

describe('the valid examples of BOLT 11', () => {
  it.each(VALID)('%s', (about, text) => {
    const invoice = valid(text)
    // the signature with a high S was made from another one by hand: it is valid, for a key that nobody has
    expect(invoice.payee).toBe(PAYEES.find(([name]) => about.includes(name))?.[1] ?? payee)
    const parsed = parts(text)
    expect(formatInvoiceText(parsed)).toBe(text.toLowerCase())
    expect(invoice.text).toBe(text.toLowerCase())
  })

  it.each(VALID.filter(([about]) => !PAYEES.some(([name]) => about.includes(name))))('signed by us: %s', (_about, text) => {
    const { signature, recoveryId, ...unsigned } = parts(text)
    expect(sign(invoiceHash(unsigned))).toStrictEqual({ signature, recoveryId })
  })

  it('say what the specification says', () => {
    const donation = example('donation of any amount')
    expect(donation).toStrictEqual({
      prefix: 'bc',
      timestamp: 1496314658,
      paymentHash: '0001020304050607080900010203040506070809000102030405060708090102',
      paymentSecret: new Uint8Array(32).fill(0x11),
      description: 'Please consider supporting this project',
      expirySeconds: 3600,
      minFinalCltvExpiryDelta: 18,
      routeHints: [],
      features: { known: { var_onion_optin: 'required', payment_secret: 'required' } },
      fallbackScripts: [],
      payee,
      text: donation.text,
    })
    expect(example('cup of coffee')).toMatchObject({ amountMsat: 250_000_000n, description: '1 cup coffee', expirySeconds: 60 })
    expect(example('cup of nonsense').description).toBe('ナンセンス 1杯')
    expect(bytesToHex(example('(hashed)').descriptionHash ?? new Uint8Array())).toBe(
      '3925b6f67e2c340036ed12093dd44e0368df1b6ea26c53dbe4811f58fd5db8c1',
    )
    expect(bytesToHex(example('testnet').fallbackScripts[0] ?? new Uint8Array())).toBe(
      '76a9143172b5654f6683c8fb146959d347ce303cae4ca788ac',
    )
    const routed = example('extra routing')
    expect(
      routed.routeHints.map((hint) => hint.map((hop) => ({ ...hop, shortChannelId: formatScid(hop.shortChannelId) }))),
    ).toStrictEqual([
      [
        {
          nodeId: '029e03a901b85534ff1e92c43c74431f7ce72046060fcf7a95c37e148f78c77255',
          shortChannelId: '66051x263430x1800',
          feeBaseMsat: 1,
          feeProportionalMillionths: 20,
          cltvExpiryDelta: 3,
        },
        {
          nodeId: '039e03a901b85534ff1e92c43c74431f7ce72046060fcf7a95c37e148f78c77255',
          shortChannelId: '197637x395016x2314',
          feeBaseMsat: 2,
          feeProportionalMillionths: 30,
          cltvExpiryDelta: 4,
        },
      ],
    ])
    expect(bytesToHex(example('P2SH').fallbackScripts[0] ?? new Uint8Array())).toBe(
      'a9148f55563b9a19f321c211e9b9f38cdf686ea0784587',
    )
    expect(bytesToHex(example('P2WPKH').fallbackScripts[0] ?? new Uint8Array())).toBe(
      '0014751e76e8199196d454941c45d1b3a323f1433bd6',
    )
    expect(bytesToHex(example('P2WSH').fallbackScripts[0] ?? new Uint8Array())).toBe(
      '00201863143c14c5166804bd19203356da136c985678cd4d27a1b8c6329604903262',
    )
    expect(example('P2TR').fallbackScripts[0]?.slice(0, 2)).toStrictEqual(Uint8Array.of(0x51, 0x20))
    expect(example('0.00967878534')).toMatchObject({
      amountMsat: 967_878_534n,
      expirySeconds: 604_800,
      minFinalCltvExpiryDelta: 10,
    })
    expect(example('must be ignored')).toMatchObject({ fallbackScripts: [], paymentHash: donation.paymentHash })
    expect(bytesToHex(example('metadata').metadata ?? new Uint8Array())).toBe('01fafaf0')
  })

  it('are written again byte for byte where the order of fields is ours', () => {
    const same = VALID.filter(([, text]) => encodeInvoice(valid(text), sign) === text)
    expect(same).toHaveLength(6)
  })

  it.each(VALID)('mean the same when written by us: %s', (_about, text) => {
    const { text: _1, payee: _2, ...said } = valid(text)
    const { text: _3, payee: _4, ...repeated } = valid(encodeInvoice(said, sign))
    expect(repeated).toStrictEqual(said)
  })
})

describe('the invalid examples of BOLT 11', () => {
  it.each(INVALID)('%s', (_about, code, text) => {
    expect(decodeInvoice(text)).toMatchObject({ problem: code })
  })
})

const fields: InvoiceFields = {
  prefix: 'bcrt',
  amountMsat: Msat(1_234_567n),
  timestamp: 1_700_000_000,
  paymentHash: PaymentHash('ab'.repeat(32)),
  paymentSecret: new Uint8Array(32).fill(7),
  description: 'tea',
  expirySeconds: 3600,
  minFinalCltvExpiryDelta: 18,
  routeHints: [],
  features: { known: { var_onion_optin: 'required', payment_secret: 'required', basic_mpp: 'optional' } },
  fallbackScripts: [],
}

/** Signs parts that no writer of ours would make. */
const signed = (text: Omit<InvoiceText, 'signature' | 'recoveryId'>): string =>
  formatInvoiceText({ ...text, ...sign(invoiceHash(text)) })

describe('reading', () => {
  it('refuses an invoice of another network', () => {
    const text = encodeInvoice(fields, sign)
    expect(decodeInvoice(text, { networks: [networks.mainnet] })).toMatchObject({ problem: 'wrong_network' })
    expect(decodeInvoice(text, { networks: [networks.regtest] })).toMatchObject({ prefix: 'bcrt' })
  })

  it('knows the prefix of every network, and of one of our own', () => {
    for (const network of Object.values(networks)) {
      const text = encodeInvoice({ ...fields, prefix: network.bolt11Prefix }, sign)
      expect(decodeInvoice(text, { networks: [network] })).toMatchObject({ prefix: network.bolt11Prefix, amountMsat: 1_234_567n })
    }
    const own = encodeInvoice({ ...fields, prefix: 'club' }, sign)
    expect(decodeInvoice(own)).toMatchObject({ problem: 'unknown_prefix' })
    expect(decodeInvoice(own, { networks: [{ bolt11Prefix: 'club' }] })).toMatchObject({ prefix: 'club' })
  })

  it('takes a lightning: link in either case', () => {
    const text = encodeInvoice(fields, sign)
    expect(valid(`LIGHTNING:${text.toUpperCase()}`).text).toBe(text)
  })

  it('refuses to pay where a required feature is not ours', () => {
    const text = encodeInvoice(
      { ...fields, features: { known: { ...fields.features.known, option_route_blinding: 'required' } } },
      sign,
    )
    expect(decodeInvoice(text)).toStrictEqual({ problem: 'unknown_feature', detail: 'bit 24' })
  })

  it('S65: refuses a recovery id over 3, with or without n', () => {
    const text = parts(encodeInvoice(fields, sign))
    expect(decodeInvoice(formatInvoiceText({ ...text, recoveryId: 4 }))).toMatchObject({ problem: 'invalid_signature' })
    expect(decodeInvoice(formatInvoiceText({ ...text, recoveryId: 255 }))).toMatchObject({ problem: 'invalid_signature' })
  })

  it('S65: refuses characters beyond ASCII, also those whose lower case is ASCII', () => {
    const text = encodeInvoice(fields, sign).toUpperCase()
    expect(decodeInvoice(text.replace('K', '\u212a'))).toMatchObject({ problem: 'not_bech32' })
    expect(decodeInvoice(`${text}\u{1f4a9}`)).toMatchObject({ problem: 'not_bech32' })
    expect(decodeInvoice('')).toMatchObject({ problem: 'not_bech32' })
    expect(decodeInvoice('ln1'.repeat(9000))).toMatchObject({ problem: 'not_bech32' })
  })

  it('S65: refuses descriptions that are not UTF-8, numbers with leading zeros, hints of broken length', () => {
    const text = parts(encodeInvoice(fields, sign))
    const withField = (tag: number, words: readonly number[]): string =>
      signed({ ...text, fields: [...text.fields.filter((field) => field.tag !== tag), { tag, words }] })
    expect(decodeInvoice(withField(13, [31, 28]))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(6, [0, 1]))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(24, [0, 1]))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(24, [31, 31, 31, 31, 31]))).toMatchObject({ problem: 'invalid_field' })
    expect(
      decodeInvoice(
        withField(
          6,
          Array.from({ length: 1000 }, () => 31),
        ),
      ),
    ).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(3, [1, 2, 3]))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(3, []))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(5, [0, 8]))).toMatchObject({ problem: 'invalid_field' })
    expect(decodeInvoice(withField(9, []))).toMatchObject({ fallbackScripts: [] })
  })

  it('S65: whatever is inside a right checksum and signature, the answer is an invoice or a problem', () => {
    const base = parts(encodeInvoice({ ...fields, routeHints: [[hint]] }, sign))
    const field = fc.record({
      tag: fc.oneof(fc.integer({ min: 0, max: 31 }), fc.constantFrom(1, 3, 5, 6, 9, 13, 16, 19, 23, 24, 27)),
      words: fc.oneof(
        fc.array(fc.integer({ min: 0, max: 31 }), { maxLength: 110 }),
        fc
          .constantFrom(51, 52, 53, 82)
          .chain((length) => fc.array(fc.integer({ min: 0, max: 31 }), { minLength: length, maxLength: length })),
      ),
    })
    fc.assert(
      fc.property(
        fc.array(field, { maxLength: 4 }),
        fc.integer({ min: 0, max: 2 ** 35 - 1 }),
        fc.stringMatching(/^[0-9munpx]{0,24}$/),
        fc.integer({ min: 0, max: base.fields.length }),
        fc.boolean(),
        (extra, timestamp, amount, at, properly) => {
          const text = { ...base, timestamp, amount, fields: [...base.fields.slice(0, at), ...extra, ...base.fields.slice(at)] }
          const answer = decodeInvoice(properly ? signed(text) : formatInvoiceText(text))
          expect('problem' in answer || answer.paymentHash.length === 64).toBe(true)
        },
      ),
      { numRuns: 150 },
    )
  })

  it('tells when it expires', () => {
    expect(invoiceExpiry(valid(encodeInvoice(fields, sign)))).toBe(1_700_003_600)
  })
})

const hint = {
  nodeId: payee,
  shortChannelId: scid(1, 2, 3),
  feeBaseMsat: 1000,
  feeProportionalMillionths: 10,
  cltvExpiryDelta: 80,
}

describe('amounts', () => {
  it('are written with the largest multiplier', () => {
    expect(
      [100_000_000_000n, 250_000_000n, 1_000_000n, 1000n, 100n, 1n, 967_878_534n].map((n) => formatAmount(Msat(n))),
    ).toStrictEqual(['1', '2500u', '10u', '10n', '1n', '10p', '9678785340p'])
  })

  it('are read with any multiplier, and come back', () => {
    expect(parseAmount('1000m')).toBe(100_000_000_000n)
    fc.assert(fc.property(fc.bigInt(1n, 2_100_000_000_000_000_000n), (n) => parseAmount(formatAmount(Msat(n))) === n))
  })

  it('refuses zero, leading zeros, parts of a millisatoshi and more than all money', () => {
    for (const text of ['0', '01', '1p', '15p', '21000001', '-1', '1.5m', 'm', '1mm', '99999999999999999999'])
      expect(parseAmount(text)).toBe(undefined)
  })
})

describe('writing', () => {
  it('what is written is read the same', () => {
    const full: InvoiceFields = {
      ...fields,
      expirySeconds: 86_400,
      minFinalCltvExpiryDelta: 42,
      routeHints: [[hint, { ...hint, shortChannelId: scid(4, 5, 6) }], [hint]],
      metadata: Uint8Array.of(1, 2, 3),
      fallbackScripts: [concat(Uint8Array.of(0, 20), new Uint8Array(20).fill(9))],
    }
    const { text: _, ...read } = valid(encodeInvoice(full, sign))
    expect(read).toStrictEqual({ ...full, payee })
  })

  it('refuses what does not fit', () => {
    expect(() => encodeInvoice({ ...fields, description: 'x'.repeat(640) }, sign)).toThrow(RangeError)
    expect(() => encodeInvoice({ ...fields, descriptionHash: new Uint8Array(32) }, sign)).toThrow(RangeError)
    expect(() => encodeInvoice({ ...fields, amountMsat: Msat(0n) }, sign)).toThrow(RangeError)
    expect(() => encodeInvoice({ ...fields, paymentSecret: new Uint8Array(31) }, sign)).toThrow(RangeError)
  })
})
