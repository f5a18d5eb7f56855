/**
 * A netlink socket. The kernel works a request off before `send` returns and its answer waits in
 * the socket, so requests are synchronous: a few microseconds, no event loop.
 *
 * A socket belongs to the network namespace its thread was in when it was made, for ever.
 */
import { assert, WorldError } from '../../lib/errors.ts';
import { ERRNO, libc, libcRaw, onReadable, SystemError } from '../ffi/libc.ts';
import { ByteWriter } from './byte-writer.ts';
import {
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NETLINK_GET_STRICT_CHK,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_REQUEST,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSG_OVERRUN,
  SOL_NETLINK,
} from './constants.ts';
import {
  decodeAcknowledgement,
  decodeMessages,
  writeMessage,
  type Message,
  type ReceivedMessage,
} from './message.ts';
import { NetlinkError, refusalOf } from './netlink-error.ts';

const AF_NETLINK = 16;
const SOCK_RAW = 3;
const SOCK_CLOEXEC = 0o2000000;
const SOL_SOCKET = 1;
const SO_SNDBUF = 7;
const SO_RCVBUF = 8;
const SO_RCVTIMEO = 20;
const SO_SNDBUFFORCE = 32;
const SO_RCVBUFFORCE = 33;
const MSG_TRUNC = 0x20;
const MSG_DONTWAIT = 0x40;

/** The kernel fills at most 32 KiB per datagram of a dump; a single object may need more. */
const RECEIVE_BYTES = 256 * 1024;
/** Answers wait already when we ask; this only ends a wait that a bug would make endless. */
const RECEIVE_TIMEOUT_SECONDS = 10n;
/** Enough for the notifications or errors of a large transaction. */
const RECEIVE_QUEUE_BYTES = 4 * 1024 * 1024;
/** A dump during which the kernel's state changed is read again this many times. */
const DUMP_ATTEMPTS_MAX = 10;

const openSocket = libc('socket', 'int', ['int', 'int', 'int']);
const closeFd = libc('close', 'int', ['int']);
const bind = libc('bind', 'int', ['int', 'void *', 'uint']);
const getsockname = libc('getsockname', 'int', ['int', 'void *', 'void *']);
const setsockopt = libc('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
const trySetsockopt = libcRaw('setsockopt', 'int', ['int', 'int', 'int', 'void *', 'uint']);
const getsockopt = libc('getsockopt', 'int', ['int', 'int', 'int', 'void *', 'void *']);
const send = libc('send', 'ssize_t', ['int', 'void *', 'size_t', 'int']);
const recvfrom = libcRaw('recvfrom', 'ssize_t', [
  'int',
  'void *',
  'size_t',
  'int',
  'void *',
  'void *',
]);

/** The receive buffer is shared: every answer is taken out of it before the next call. */
let receiveBuffer: Uint8Array<ArrayBuffer> | undefined;

export type NetlinkSocketOptions = {
  /** Multicast groups to join, such as `NFNLGRP_NFTABLES`. */
  readonly groups?: readonly number[];
  /** Lets the kernel filter dumps by the request's header, and refuse what it does not know. */
  readonly strict?: boolean;
};

/** One netlink socket; `using socket = new NetlinkSocket(NETLINK_ROUTE)`. */
export class NetlinkSocket {
  readonly protocol: number;
  /** The address the kernel gave this socket; notifications name it as their cause. */
  readonly portId: number;
  #fd: number;
  #sequence = 0;
  #sendBytesMax: number;
  #receivedBytes = 0;
  #stopReading: (() => void) | undefined;

  constructor(protocol: number, options: NetlinkSocketOptions = {}) {
    this.protocol = protocol;
    this.#fd = openSocket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol);
    try {
      bind(this.#fd, sockaddr(), 12);
      this.portId = this.#readPortId();
      this.#setOptions(options);
      this.#sendBytesMax = this.#option(SO_SNDBUF) - 32;
    } catch (error) {
      closeFd(this.#fd);
      throw error;
    }
  }

  /** The descriptor, for polling; it stays the socket's own. */
  get fd(): number {
    return this.#fd;
  }

  /** Sends one request and waits for its acknowledgement. Throws `NetlinkError`. */
  request(message: Message, tried = 'make a netlink request'): void {
    const sequence = this.#send(message, NLM_F_ACK);
    this.#collect(sequence, tried, () => undefined);
  }

  /** Sends one request that is answered by one message (and an acknowledgement). */
  query(message: Message, tried = 'make a netlink query'): ReceivedMessage | undefined {
    const sequence = this.#send(message, NLM_F_ACK);
    let answer: ReceivedMessage | undefined;
    this.#collect(sequence, tried, (received) => {
      answer = received;
    });
    return answer;
  }

  /** Reads a whole list; once more when the kernel says that it changed meanwhile. */
  dump(message: Message, tried = 'read a list from the kernel'): ReceivedMessage[] {
    let messages: ReceivedMessage[] = [];
    this.read(message, tried, () => {
      messages = [];
      return (received) => messages.push(received);
    });
    return messages;
  }

  /** As `dump`, one message at a time; `begin` is called for each attempt. */
  read(message: Message, tried: string, begin: () => (received: ReceivedMessage) => void): void {
    for (let attempt = 1; attempt <= DUMP_ATTEMPTS_MAX; attempt += 1) {
      const sequence = this.#send(message, NLM_F_DUMP);
      if (!this.#collect(sequence, tried, begin())) return;
    }
    throw new WorldError('NETLINK', `Cannot ${tried}: it changes faster than it can be read`);
  }

  /**
   * As `dump`, one message at a time, for lists too long to be kept whole. For kinds of which the
   * kernel does not say that they changed meanwhile, as it cannot be read again.
   */
  scan(message: Message, tried: string, take: (received: ReceivedMessage) => void): void {
    this.#collect(this.#send(message, NLM_F_DUMP), tried, take);
  }

  /** Numbers for the messages of a batch: the first of `count`. */
  takeSequences(count: number): number {
    const first = this.#sequence + 1;
    this.#sequence += count;
    return first;
  }

  /** Makes room for a datagram of this size; false when the kernel does not allow it. */
  reserve(bytes: number): boolean {
    if (bytes <= this.#sendBytesMax) return true;
    // The kernel doubles what it is given, and keeps room for its own bookkeeping.
    const wanted = int32(bytes + 64);
    if (trySetsockopt(this.#fd, SOL_SOCKET, SO_SNDBUFFORCE, wanted, 4) < 0) {
      setsockopt(this.#fd, SOL_SOCKET, SO_SNDBUF, wanted, 4);
    }
    this.#sendBytesMax = this.#option(SO_SNDBUF) - 32;
    return bytes <= this.#sendBytesMax;
  }

  /** The largest datagram that fits now; grows with `reserve`. */
  get sendBytesMax(): number {
    return this.#sendBytesMax;
  }

  /** What the kernel answered so far, lists above all. */
  get receivedBytes(): number {
    return this.#receivedBytes;
  }

  /** Sends bytes as one datagram. */
  sendRaw(bytes: Uint8Array): void {
    assert(this.#fd >= 0, 'a closed netlink socket is used');
    if (!this.reserve(bytes.length)) {
      throw new WorldError(
        'NETLINK_TOO_LARGE',
        `Cannot send ${bytes.length} bytes over netlink: this user may send ${this.#sendBytesMax}`,
      );
    }
    send(this.#fd, bytes, bytes.length, 0);
  }

  /**
   * Takes the next datagram out of the socket: its messages, undefined when none waits, or
   * `'overrun'` when the kernel had to drop some because nobody took them.
   */
  receive(): ReceivedMessage[] | 'overrun' | undefined {
    return this.#receive(MSG_DONTWAIT);
  }

  /** Calls back with each datagram that comes, on the event loop, until the socket is closed. */
  listen(callback: (messages: ReceivedMessage[] | 'overrun') => void): void {
    assert(this.#stopReading === undefined, 'one listener per netlink socket');
    this.#stopReading = onReadable(this.#fd, () => {
      while (this.#fd >= 0) {
        const messages = this.receive();
        if (messages === undefined) return;
        callback(messages);
      }
    });
  }

  [Symbol.dispose](): void {
    if (this.#fd < 0) return;
    this.#stopReading?.();
    closeFd(this.#fd);
    this.#fd = -1;
  }

  #send(message: Message, flags: number): number {
    const sequence = this.takeSequences(1);
    const writer = new ByteWriter(message.body.length + 20);
    writeMessage(writer, message, { sequence, flags: NLM_F_REQUEST | flags });
    this.sendRaw(writer.bytes());
    return sequence;
  }

  /** Hands out what belongs to `sequence` until it is complete; true if a dump was disturbed. */
  #collect(sequence: number, tried: string, take: (message: ReceivedMessage) => void): boolean {
    let interrupted = false;
    for (;;) {
      const messages = this.#receive(0);
      if (messages === 'overrun') throw new SystemError('recvfrom', ERRNO.ENOBUFS, tried);
      if (messages === undefined) throw new SystemError('recvfrom', ERRNO.ETIMEDOUT, tried);
      for (const message of messages) {
        // Leftovers of a request given up earlier, and notifications, are not for us.
        if (message.sequence !== sequence) continue;
        if ((message.flags & NLM_F_DUMP_INTR) !== 0) interrupted = true;
        if (message.type === NLMSG_ERROR) {
          const ack = decodeAcknowledgement(message);
          if (ack.errno !== 0) throw new NetlinkError(tried, [refusalOf(ack)]);
          return interrupted;
        }
        if (message.type === NLMSG_DONE) {
          throwIfDumpFailed(message, tried);
          return interrupted;
        }
        take(message);
      }
    }
  }

  #receive(flags: number): ReceivedMessage[] | 'overrun' | undefined {
    assert(this.#fd >= 0, 'a closed netlink socket is used');
    receiveBuffer ??= new Uint8Array(RECEIVE_BYTES);
    const from = new Uint8Array(12);
    for (;;) {
      const length = recvfrom(
        this.#fd,
        receiveBuffer,
        receiveBuffer.length,
        flags | MSG_TRUNC,
        from,
        int32(12),
      );
      if (length === -ERRNO.EINTR) continue;
      if (length === -ERRNO.EAGAIN) return undefined;
      if (length === -ERRNO.ENOBUFS) return 'overrun';
      if (length < 0) throw new SystemError('recvfrom', -length, 'read from the kernel');
      // Any process may write to a netlink socket; only the kernel has address 0.
      if (new DataView(from.buffer).getUint32(4, true) !== 0) continue;
      assert(length <= receiveBuffer.length, `a netlink datagram of ${length} bytes`);
      this.#receivedBytes += length;
      const messages = decodeMessages(receiveBuffer.slice(0, length));
      return messages.some((message) => message.type === NLMSG_OVERRUN) ? 'overrun' : messages;
    }
  }

  #readPortId(): number {
    const address = new Uint8Array(12);
    getsockname(this.#fd, address, int32(12));
    return new DataView(address.buffer).getUint32(4, true);
  }

  #setOptions(options: NetlinkSocketOptions): void {
    const timeout = new BigInt64Array([RECEIVE_TIMEOUT_SECONDS, 0n]);
    setsockopt(this.#fd, SOL_SOCKET, SO_RCVTIMEO, timeout, timeout.byteLength);
    const queue = int32(RECEIVE_QUEUE_BYTES);
    if (trySetsockopt(this.#fd, SOL_SOCKET, SO_RCVBUFFORCE, queue, 4) < 0) {
      setsockopt(this.#fd, SOL_SOCKET, SO_RCVBUF, queue, 4);
    }
    const on = int32(1);
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_EXT_ACK, on, 4);
    setsockopt(this.#fd, SOL_NETLINK, NETLINK_CAP_ACK, on, 4);
    if (options.strict === true) setsockopt(this.#fd, SOL_NETLINK, NETLINK_GET_STRICT_CHK, on, 4);
    for (const group of options.groups ?? []) {
      setsockopt(this.#fd, SOL_NETLINK, NETLINK_ADD_MEMBERSHIP, int32(group), 4);
    }
  }

  #option(name: number): number {
    const value = int32(0);
    getsockopt(this.#fd, SOL_SOCKET, name, value, int32(4));
    return value[0]!;
  }
}

/** A dump that fails midway says so in its closing message. */
function throwIfDumpFailed(message: ReceivedMessage, tried: string): void {
  if (message.body.length < 4) return;
  const view = new DataView(message.body.buffer, message.body.byteOffset, message.body.length);
  const errno = -view.getInt32(0, true);
  if (errno <= 0) return;
  const ack = { errno, sequence: message.sequence, text: undefined, offset: undefined };
  throw new NetlinkError(tried, [refusalOf({ ...ack, missingType: undefined })]);
}

/** `struct sockaddr_nl` with address 0: the kernel chooses one. */
function sockaddr(): Uint8Array {
  const address = new Uint8Array(12);
  address[0] = AF_NETLINK;
  return address;
}

function int32(value: number): Int32Array {
  return new Int32Array([value]);
}
