/**
 * TLV streams and messages. BOLT 1 § Type-Length-Value Format, § Lightning Message Format.
 * Types strictly increase, lengths are minimal, unknown even types are refused and unknown odd ones skipped.
 */
import { type Codec, bigSize, bigSize64, encode, type Fields, type Infer, struct, type StructOf } from './codec.ts'
import { Reader, type Writer } from './cursor.ts'
import { DecodeError } from './decode-error.ts'

/** Optional records: name -> [type, codec of the value]. */
// eslint-disable-next-line typescript/no-explicit-any
export type Records = { readonly [name: string]: readonly [type: number | bigint, codec: Codec<any>] }
export type TlvOf<R extends Records> = { readonly [K in keyof R]?: Infer<R[K][1]> | undefined }

/** A stream of optional records that reaches to the end of its bytes. */
export const tlvStream = <R extends Records>(records: R): Codec<TlvOf<R>> => {
  const known = Object.entries(records)
    .map(([name, [type, codec]]) => ({ name, type: BigInt(type), codec }))
    .toSorted((a, b) => (a.type < b.type ? -1 : 1))
  const byType = new Map(known.map((record) => [record.type, record]))
  return {
    encode(writer, value) {
      for (const { name, type, codec } of known) {
        const field = value[name]
        if (field === undefined) continue
        const body = encode(codec, field)
        bigSize64.encode(writer, type)
        bigSize.encode(writer, body.length)
        writer.bytes(body)
      }
    },
    decode(reader) {
      const out: { [name: string]: unknown } = {}
      let last = -1n
      while (reader.remaining > 0) {
        const type = bigSize64.decode(reader)
        if (type <= last) throw new DecodeError('unordered', `TLV type ${type} after ${last}`)
        last = type
        const body = reader.bytes(bigSize.decode(reader))
        const record = byType.get(type)
        if (record === undefined) {
          if (type % 2n === 0n) throw new DecodeError('unknown_even_type', `TLV type ${type}`)
          continue
        }
        const inner = new Reader(body)
        out[record.name] = record.codec.decode(inner)
        inner.expectEnd()
      }
      return out as TlvOf<R>
    },
  }
}

/** A Lightning message: its number, its name, and a codec that writes the two-byte type first. */
export interface MessageCodec<Name extends string, T> extends Codec<T> {
  readonly id: number
  readonly name: Name
}

type Simplify<T> = { [K in keyof T]: T[K] } & {}
export type MessageOf<Name extends string, F extends Fields, R extends Records> = Simplify<
  { readonly type: Name } & StructOf<F> & TlvOf<R>
>

/** Declares a message. Its value is `{ type: name, ...fields, ...tlvs }`; every message may carry an extension stream. */
export const message = <const Name extends string, F extends Fields, R extends Records = Record<never, never>>(
  id: number,
  name: Name,
  fields: F,
  tlvs?: R,
): MessageCodec<Name, MessageOf<Name, F, R>> => {
  const body = struct(fields)
  const extension = tlvStream((tlvs ?? {}) as R)
  return {
    id,
    name,
    encode(writer: Writer, value) {
      writer.u16(id)
      body.encode(writer, value as unknown as StructOf<F>)
      extension.encode(writer, value as unknown as TlvOf<R>)
    },
    decode(reader) {
      const type = reader.u16()
      if (type !== id) throw new DecodeError('invalid', `message ${type} where ${name} (${id}) belongs`)
      return { type: name, ...body.decode(reader), ...extension.decode(reader) } as MessageOf<Name, F, R>
    },
  }
}
