/** UDP in batches: one system call takes in up to 64 datagrams, another sends as many (recvmmsg(2), sendmmsg(2)). */
import koffi from 'koffi';

import { formatIp } from '../../lib/ip.ts';
import { ERRNO, libcRaw } from './libc.ts';
import {
  closeSocket,
  openUdpSocket,
  retireSocket,
  sharePort,
  sockaddrBytes,
} from './udp-socket.ts';
import type { UdpOptions } from './udp-socket.ts';

const MSG_DONTWAIT = 0x40;
const rawRecvmmsg = libcRaw('recvmmsg', 'int', ['int', 'void *', 'uint', 'int', 'void *']);
const rawSendmmsg = libcRaw('sendmmsg', 'int', ['int', 'void *', 'uint', 'int']);

/** As many as one call takes in; more gains nothing that can be measured. */
export const batchMax = 64;
/** The longest datagram taken whole; the rest of a longer one is cut off. */
export const datagramBytesMax = 4096;
/** A page and a cache line, so that the slots do not all fall on the same lines of the cache. */
const slotBytes = datagramBytesMax + 64;
/** No datagram is longer (RFC 768); a late reply may be as long. */
const lateBytesMax = 65_535;

/** `struct mmsghdr` where pointers have 8 bytes, and the offsets of its fields in words of four. */
const HEADER = { bytes: 64, words: 16 } as const;
const WORD = {
  name: 0,
  nameLength: 2,
  iov: 4,
  iovCount: 6,
  control: 8,
  controlLength: 10,
} as const;
const MESSAGE_LENGTH = 14;
const iovecWords = 4;
const nameBytes = 32;
/** The third word of an IPv4 address that is mapped into IPv6, after two of zeros (RFC 4291 §2.5.5.2). */
const mappedWord = new Uint32Array(Uint8Array.of(0, 0, 0xff, 0xff).buffer)[0]!;
/** Room for one IPV6_PKTINFO, padded. */
const controlBytes = 64;

/** Who sent a datagram, kept for a reply that comes later. */
export type Sender = { readonly name: Uint8Array; readonly control: Uint8Array };

/** Headers, and what they point at. The last entry of the replies is for those that come late. */
type Vector = {
  readonly headers: Buffer;
  readonly words: Uint32Array;
  readonly iovs: Buffer;
  readonly iovWords: Uint32Array;
};

export class UdpBatch {
  readonly fd: number;
  readonly port: number;
  /** Received bytes; those of datagram `i` begin at `startOf(i)`. */
  readonly input = Buffer.allocUnsafeSlow(batchMax * slotBytes);
  /** Where replies are written, from `nextReply` on. */
  readonly output = Buffer.allocUnsafeSlow(batchMax * slotBytes);
  readonly #names = Buffer.alloc((batchMax + 1) * nameBytes);
  readonly #nameWords = new Uint32Array(this.#names.buffer, this.#names.byteOffset);
  readonly #controls = Buffer.alloc((batchMax + 1) * controlBytes);
  readonly #late = Buffer.allocUnsafeSlow(lateBytesMax);
  readonly #received = vector(batchMax);
  readonly #replies = vector(batchMax + 1);
  readonly #wildcard: boolean;
  readonly #host: string;
  #receivedCount = batchMax;
  #replyCount = 0;

  /** Opens and binds the socket, or throws `SystemError`. */
  constructor(options: UdpOptions) {
    const { fd, port, wildcard } = openUdpSocket(options);
    this.fd = fd;
    this.port = port;
    this.#wildcard = wildcard;
    this.#host = options.host;
    for (let slot = 0; slot < batchMax; slot += 1) {
      this.#point(this.#received, slot, this.input, slot * slotBytes);
      this.#point(this.#replies, slot, this.output, slot * slotBytes);
    }
    this.#point(this.#replies, batchMax, this.#late, 0);
  }

  #point({ words, iovs, iovWords }: Vector, slot: number, bytes: Buffer, at: number): void {
    const header = slot * HEADER.words;
    putAddress(words, header + WORD.name, this.#names, slot * nameBytes);
    putAddress(words, header + WORD.iov, iovs, slot * iovecWords * 4);
    words[header + WORD.iovCount] = 1;
    if (this.#wildcard) {
      putAddress(words, header + WORD.control, this.#controls, slot * controlBytes);
    }
    putAddress(iovWords, slot * iovecWords, bytes, at);
    iovWords[slot * iovecWords + 2] = slotBytes - 64;
  }

  /** Lets other sockets of this user bind the same port from now on. */
  share(): void {
    sharePort(this.fd);
  }

  /** From now on datagrams go to the other sockets on the port; what waits here can still be taken in. */
  retire(): void {
    retireSocket(this.fd, this.#host);
  }

  /** Takes in what waits, at most `batchMax`, in place of the datagrams before; 0: nothing waits. */
  receive(): number {
    const { words, headers } = this.#received;
    for (let slot = 0; slot < this.#receivedCount; slot += 1) {
      words[slot * HEADER.words + WORD.nameLength] = sockaddrBytes;
      if (this.#wildcard) words[slot * HEADER.words + WORD.controlLength] = controlBytes;
    }
    const count = rawRecvmmsg(this.fd, headers, batchMax, MSG_DONTWAIT, null);
    // An error that an earlier reply met (ECONNREFUSED and such) is told here, and is not ours.
    this.#receivedCount = Math.max(0, count);
    return this.#receivedCount;
  }

  startOf(slot: number): number {
    return slot * slotBytes;
  }

  lengthOf(slot: number): number {
    return this.#received.words[slot * HEADER.words + MESSAGE_LENGTH]!;
  }

  /** The bytes of a received datagram; they change with the next `receive`. */
  datagram(slot: number): Buffer {
    return this.input.subarray(slot * slotBytes, slot * slotBytes + this.lengthOf(slot));
  }

  /** Address and port of whoever sent it; IPv4 as such also where it came to an IPv6 socket. */
  clientOf(slot: number): { readonly address: string; readonly port: number } {
    const name = this.#names.subarray(slot * nameBytes, (slot + 1) * nameBytes);
    const isV6 = this.#received.words[slot * HEADER.words + WORD.nameLength] === sockaddrBytes;
    const bytes = isV6 ? name.subarray(8, 24) : name.subarray(4, 8);
    const isMapped = isV6 && bytes.readUInt32BE(8) === 0xffff && bytes.readBigUInt64BE(0) === 0n;
    return {
      address: formatIp(isMapped ? bytes.subarray(12) : bytes),
      port: name.readUInt16BE(2),
    };
  }

  /** Whether an IPv6 client sent it; IPv4 may come to an IPv6 socket. Makes nothing, for every datagram. */
  isIpv6(slot: number): boolean {
    if (this.#received.words[slot * HEADER.words + WORD.nameLength] !== sockaddrBytes) return false;
    const words = this.#nameWords;
    const at = (slot * nameBytes + 8) >> 2;
    return words[at + 2] !== mappedWord || words[at + 1] !== 0 || words[at] !== 0;
  }

  /** Where in `output` the next reply is to be written. */
  get nextReply(): number {
    return this.#replyCount * slotBytes;
  }

  /** Queues the bytes at `nextReply` for the sender of a datagram. */
  reply(slot: number, length: number): void {
    const { words, iovWords } = this.#replies;
    const from = slot * HEADER.words;
    const to = this.#replyCount * HEADER.words;
    const received = this.#received.words;
    words[to + WORD.name] = received[from + WORD.name]!;
    words[to + WORD.name + 1] = received[from + WORD.name + 1]!;
    words[to + WORD.nameLength] = received[from + WORD.nameLength]!;
    if (this.#wildcard) {
      clearInterface(this.#controls, slot * controlBytes);
      words[to + WORD.control] = received[from + WORD.control]!;
      words[to + WORD.control + 1] = received[from + WORD.control + 1]!;
      words[to + WORD.controlLength] = received[from + WORD.controlLength]!;
    }
    iovWords[this.#replyCount * iovecWords + 2] = length;
    this.#replyCount += 1;
  }

  /** Sends what is queued. A datagram that cannot be sent is lost like any other: the client asks again. */
  flush(): void {
    const total = this.#replyCount;
    this.#replyCount = 0;
    for (let done = 0; done < total;) {
      const sent = this.#send(done, total - done);
      if (sent === -ERRNO.EAGAIN || sent === -ERRNO.EBADF) return;
      done += Math.max(1, sent);
    }
  }

  /** Remembers who sent a datagram. */
  senderOf(slot: number): Sender {
    const { words } = this.#received;
    const name = words[slot * HEADER.words + WORD.nameLength]!;
    const control = this.#wildcard ? words[slot * HEADER.words + WORD.controlLength]! : 0;
    return {
      name: Uint8Array.from(this.#names.subarray(slot * nameBytes, slot * nameBytes + name)),
      control: Uint8Array.from(
        this.#controls.subarray(slot * controlBytes, slot * controlBytes + control),
      ),
    };
  }

  /** Sends one reply at once, however long after its question. */
  send({ name, control }: Sender, bytes: Uint8Array): void {
    if (bytes.length > lateBytesMax) return;
    const { words, iovWords } = this.#replies;
    const header = batchMax * HEADER.words;
    this.#late.set(bytes);
    this.#names.set(name, batchMax * nameBytes);
    this.#controls.set(control, batchMax * controlBytes);
    clearInterface(this.#controls, batchMax * controlBytes);
    words[header + WORD.nameLength] = name.length;
    words[header + WORD.controlLength] = control.length;
    iovWords[batchMax * iovecWords + 2] = bytes.length;
    this.#send(batchMax, 1);
  }

  #send(first: number, count: number): number {
    const { headers } = this.#replies;
    const from = first === 0 ? headers : headers.subarray(first * HEADER.bytes);
    return rawSendmmsg(this.fd, from, count, MSG_DONTWAIT);
  }

  /** The descriptor must not be polled any more. */
  close(): void {
    closeSocket(this.fd);
  }
}

function vector(count: number): Vector {
  const headers = Buffer.from(new ArrayBuffer(count * HEADER.bytes));
  const iovs = Buffer.from(new ArrayBuffer(count * iovecWords * 4));
  return {
    headers,
    words: new Uint32Array(headers.buffer),
    iovs,
    iovWords: new Uint32Array(iovs.buffer),
  };
}

/** Memory of these buffers never moves: they are none of the small ones that live in the heap. */
function putAddress(words: Uint32Array, at: number, bytes: Buffer, offset: number): void {
  const address = koffi.address(bytes) + BigInt(offset);
  words[at] = Number(address & 0xffff_ffffn);
  words[at + 1] = Number(address >> 32n);
}

const IPPROTO_IPV6 = 41;

/**
 * What came in as "to this address, on that interface" goes out as "from this address", and routing
 * chooses the interface. Offsets: `struct cmsghdr`, `in_pktinfo`, `in6_pktinfo`.
 */
function clearInterface(controls: Buffer, at: number): void {
  const isV6 = controls[at + 8] === IPPROTO_IPV6;
  controls.fill(0, at + (isV6 ? 32 : 16), at + (isV6 ? 36 : 20));
}
