/** Message bodies: a fixed structure followed by attributes. */
import {
  DecodeError,
  decodeAttrs,
  writeAttrs,
  type Attr,
  type Attributes,
} from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';

/** The bytes of a header written by `header`, then the attributes. */
export function encodeBody(
  header: (writer: ByteWriter) => void,
  attrs: readonly (Attr | undefined)[],
): Uint8Array<ArrayBuffer> {
  const writer = new ByteWriter();
  header(writer);
  writeAttrs(
    writer,
    attrs.filter((attr) => attr !== undefined),
  );
  return writer.bytes();
}

/** A body taken apart into its fixed structure of `headerBytes` and its attributes. */
export function decodeBody(
  body: Uint8Array,
  headerBytes: number,
): { header: DataView; attrs: Attributes } {
  if (body.length < headerBytes) {
    throw new DecodeError(`a message body of ${body.length} bytes, not ${headerBytes}`);
  }
  return {
    header: new DataView(body.buffer, body.byteOffset, headerBytes),
    attrs: decodeAttrs(body.subarray(headerBytes)),
  };
}

/** `build(value)`, or nothing when there is no value. */
export function optional<T>(value: T | undefined, build: (value: T) => Attr): Attr | undefined {
  return value === undefined ? undefined : build(value);
}
