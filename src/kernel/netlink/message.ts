/** Netlink messages: a 16-byte header, a body, padded to 4 (RFC 3549 §2.3). */
import { decodeAttrs, DecodeError } from './attr.ts';
import type { ByteWriter } from './byte-writer.ts';
import {
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLMSGERR_ATTR_MISS_TYPE,
  NLMSGERR_ATTR_MSG,
  NLMSGERR_ATTR_OFFS,
} from './constants.ts';

export const NLMSG_HEADER_BYTES = 16;

/** A message to send. `flags` come on top of `NLM_F_REQUEST`; the socket numbers it. */
export type Message = {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
};

/** A message that came. `portId` is the socket whose request caused it, 0 for the kernel itself. */
export type ReceivedMessage = Message & {
  readonly sequence: number;
  readonly portId: number;
};

/** The answer to one request: `errno` 0 is an acknowledgement. */
export type Acknowledgement = {
  readonly errno: number;
  readonly sequence: number;
  /** What the kernel says about the refusal (extended ack), when it says anything. */
  readonly text: string | undefined;
  /** Where the offending attribute begins, counted from the message's header. */
  readonly offset: number | undefined;
  /** The type of an attribute that should have been there. */
  readonly missingType: number | undefined;
};

/** Writes header and body, numbered with `sequence`. */
export function writeMessage(
  writer: ByteWriter,
  message: Message,
  header: { sequence: number; flags: number },
): void {
  writer.u32(NLMSG_HEADER_BYTES + message.body.length);
  writer.u16(message.type);
  writer.u16(message.flags | header.flags);
  writer.u32(header.sequence);
  writer.u32(0);
  writer.raw(message.body);
  writer.pad();
}

/** Takes one datagram apart. Throws `DecodeError`. */
export function decodeMessages(bytes: Uint8Array): ReceivedMessage[] {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.length);
  const messages: ReceivedMessage[] = [];
  let at = 0;
  while (at + NLMSG_HEADER_BYTES <= bytes.length) {
    const length = view.getUint32(at, true);
    if (length < NLMSG_HEADER_BYTES || at + length > bytes.length) {
      throw new DecodeError(`message at ${at} has length ${length} of ${bytes.length} bytes`);
    }
    messages.push({
      type: view.getUint16(at + 4, true),
      flags: view.getUint16(at + 6, true),
      sequence: view.getUint32(at + 8, true),
      portId: view.getUint32(at + 12, true),
      body: bytes.subarray(at + NLMSG_HEADER_BYTES, at + length),
    });
    at += (length + 3) & ~3;
  }
  if (at < bytes.length) throw new DecodeError(`${bytes.length - at} bytes after the messages`);
  return messages;
}

/** Reads an `NLMSG_ERROR` (`struct nlmsgerr`) with its extended-ack attributes. */
export function decodeAcknowledgement(message: ReceivedMessage): Acknowledgement {
  const { body, flags } = message;
  if (body.length < 4 + NLMSG_HEADER_BYTES) {
    throw new DecodeError(`an acknowledgement of ${body.length} bytes`);
  }
  const view = new DataView(body.buffer, body.byteOffset, body.length);
  const errno = -view.getInt32(0, true);
  const echoed = (flags & NLM_F_CAPPED) === 0 ? view.getUint32(4, true) : NLMSG_HEADER_BYTES;
  const attrsAt = 4 + ((echoed + 3) & ~3);
  const hasAttrs = (flags & NLM_F_ACK_TLVS) !== 0 && attrsAt <= body.length;
  const attrs = decodeAttrs(hasAttrs ? body.subarray(attrsAt) : new Uint8Array());
  return {
    errno,
    sequence: message.sequence,
    text: attrs.string(NLMSGERR_ATTR_MSG),
    offset: attrs.u32(NLMSGERR_ATTR_OFFS),
    missingType: attrs.u32(NLMSGERR_ATTR_MISS_TYPE),
  };
}
