/**
 * What nft(8) keeps beside an object for itself: one-byte type, one-byte length, value
 * (libnftnl/udata.h). The kernel only stores it.
 */
import { DecodeError, decodeText } from '../netlink/attr.ts';

const TEXT = new TextEncoder();

/** A comment must fit, with its NUL, in what one byte of length can say. */
const COMMENT_BYTES_MAX = 127;

export type UserData = readonly { readonly type: number; readonly value: Uint8Array }[];

export function encodeUserData(entries: UserData): Uint8Array<ArrayBuffer> {
  const bytes = entries.flatMap(({ type, value }) => [type, value.length, ...value]);
  return Uint8Array.from(bytes);
}

/** The value of a comment entry. */
export function commentValue(comment: string): Uint8Array {
  const bytes = TEXT.encode(`${comment}\0`);
  if (bytes.length > COMMENT_BYTES_MAX + 1) {
    throw new RangeError(`a comment has at most ${COMMENT_BYTES_MAX} bytes: "${comment}"`);
  }
  return bytes;
}

/** Throws `DecodeError` when the entries do not fill the bytes. */
export function decodeUserData(bytes: Uint8Array): UserData {
  const entries: { type: number; value: Uint8Array }[] = [];
  let at = 0;
  while (at < bytes.length) {
    const length = bytes[at + 1];
    if (length === undefined || at + 2 + length > bytes.length) {
      throw new DecodeError(`broken user data at ${at} of ${bytes.length} bytes`);
    }
    entries.push({ type: bytes[at]!, value: bytes.subarray(at + 2, at + 2 + length) });
    at += 2 + length;
  }
  return entries;
}

/** The comment among user data; undefined also when other programs stored what we cannot read. */
export function decodeComment(bytes: Uint8Array | undefined, type: number): string | undefined {
  if (bytes === undefined) return undefined;
  try {
    const entry = decodeUserData(bytes).find((candidate) => candidate.type === type);
    return entry && decodeText(entry.value);
  } catch (error) {
    if (error instanceof DecodeError) return undefined;
    throw error;
  }
}
