/** The ruleset of one network namespace, changed by transactions and read back. */
import { assert, WorldError } from '../../lib/errors.ts';
import { attr } from '../netlink/attr.ts';
import { ByteWriter } from '../netlink/byte-writer.ts';
import { NETLINK_NETFILTER, NLM_F_ACK, NLM_F_REQUEST, NLMSG_ERROR } from '../netlink/constants.ts';
import {
  decodeAcknowledgement,
  NLMSG_HEADER_BYTES,
  writeMessage,
  type Acknowledgement,
  type Message,
} from '../netlink/message.ts';
import { NetlinkError, refusalOf } from '../netlink/netlink-error.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { decodeChain, listChains, type Chain } from './chains.ts';
import {
  NFNL_BATCH_GENID,
  NFNL_MSG_BATCH_BEGIN,
  NFNL_MSG_BATCH_END,
  NFNL_SUBSYS_NFTABLES,
} from './constants.ts';
import { eachElement, listElements, type Element } from './elements.ts';
import type { Family } from './family.ts';
import { decodeGeneration, getGeneration, type Generation } from './generation.ts';
import { decodeRule, listRules, type Rule } from './rules.ts';
import { decodeSet, listSets, type NftSet, type SetRef } from './sets.ts';
import { decodeTable, listTables, type Table } from './tables.ts';

/** Messages in the order in which they take effect: all of them, at one instant, or none. */
export type Transaction = readonly Message[];

export type ApplyOptions = {
  /** Completes "Cannot …" in the error. */
  readonly tried?: string;
  /** Refused with ERESTART when the ruleset is not of this generation any more. */
  readonly generation?: number;
  /**
   * Splits what is too large for one datagram, in order, into several transactions. Needed only
   * in a user namespace without privileges outside, where the kernel keeps the socket's limit.
   */
  readonly split?: boolean;
};

/** What went over a connection since it was asked last. */
export type Traffic = {
  readonly transactions: number;
  readonly messages: number;
  readonly bytes: number;
  /** The largest transaction. */
  readonly bytesMax: number;
  /** The longest one. The kernel holds its lock for that long at most. */
  readonly msMax: number;
  /** What was read back: answers and lists. */
  readonly bytesRead: number;
};

const NO_TRAFFIC = { transactions: 0, messages: 0, bytes: 0, bytesMax: 0, msMax: 0 };

/** A connection to nf_tables in the namespace the calling thread is in now. */
export class NftConnection {
  readonly #socket = new NetlinkSocket(NETLINK_NETFILTER);
  #appliedCount = 0;
  #traffic = NO_TRAFFIC;
  #readBefore = 0;

  /** Events name this number as the cause when the change was made here. */
  get portId(): number {
    return this.#socket.portId;
  }

  /** Transactions that the kernel took; each has raised the generation. */
  get appliedCount(): number {
    return this.#appliedCount;
  }

  /** What was sent and read since the last call, refused transactions too. */
  takeTraffic(): Traffic {
    const read = this.#socket.receivedBytes;
    const traffic = { ...this.#traffic, bytesRead: read - this.#readBefore };
    this.#traffic = NO_TRAFFIC;
    this.#readBefore = read;
    return traffic;
  }

  /** Makes all the changes at one instant, or throws `NetlinkError` having made none. */
  apply(transaction: Transaction, options: ApplyOptions = {}): void {
    if (transaction.length === 0) return;
    const bytes = transaction.reduce((sum, { body }) => sum + messageBytes(body), 0);
    if (this.#socket.reserve(bytes + BATCH_BYTES) || options.split !== true) {
      this.#applyWhole(transaction, options);
      return;
    }
    for (const part of splitTransaction(transaction, this.#socket.sendBytesMax - BATCH_BYTES)) {
      this.#applyWhole(part, options);
    }
  }

  /** The number of the ruleset's state; each transaction raises it. */
  generation(): Generation {
    const answer = this.#socket.query(getGeneration(), 'read the ruleset generation');
    assert(answer !== undefined, 'the kernel acknowledged, but gave no generation');
    return decodeGeneration(answer.body);
  }

  tables(family?: Family): Table[] {
    return this.#list(listTables(family), 'list tables', decodeTable);
  }

  chains(of: { family?: Family; table?: string } = {}): Chain[] {
    const chains = this.#list(listChains(of.family), 'list chains', decodeChain);
    return of.table === undefined ? chains : chains.filter(({ table }) => table === of.table);
  }

  /** In the order of their chain. */
  rules(of: { family?: Family; table?: string; chain?: string } = {}): Rule[] {
    return this.#list(listRules(of), 'list rules', decodeRule);
  }

  sets(of: { family?: Family; table?: string } = {}): NftSet[] {
    return this.#list(listSets(of), 'list sets', decodeSet);
  }

  elements(set: SetRef): Element[] {
    let elements: Element[] = [];
    this.readElements(set, () => {
      elements = [];
      return (element) => elements.push(element);
    });
    return elements;
  }

  /**
   * Hands out one element after the other. `begin` is called at the start, and again when the set
   * changed meanwhile, so that all must be read anew.
   */
  readElements(set: SetRef, begin: () => (element: Element) => void): void {
    const tried = `list the elements of set "${set.set}"`;
    this.#socket.read(listElements(set), tried, () => {
      const take = begin();
      return ({ body }) => eachElement(body, take);
    });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #list<T>(message: Message, tried: string, decode: (body: Uint8Array) => T): T[] {
    return this.#socket.dump(message, tried).map(({ body }) => decode(body));
  }

  #applyWhole(transaction: Transaction, options: ApplyOptions): void {
    const first = this.#socket.takeSequences(transaction.length + 2);
    this.#send(encodeBatch(transaction, first, options.generation), transaction.length);
    const answers = this.#answers(first, options.tried ?? 'change the ruleset');
    const refusals = answers
      .filter(({ errno }) => errno !== 0)
      .map((ack) => refusalOf(ack, indexOf(ack, { first, count: transaction.length })));
    const [refusal, ...others] = refusals;
    if (refusal !== undefined) {
      throw new NetlinkError(options.tried ?? 'change the ruleset', [refusal, ...others]);
    }
    // Only the last message asks for an answer, so that many messages cannot overrun the socket.
    const last = first + transaction.length;
    assert(
      answers.some(({ sequence }) => sequence === last),
      'the kernel answered a transaction with neither success nor refusal',
    );
    this.#appliedCount += 1;
  }

  #send(batch: Uint8Array, messages: number): void {
    const startedAt = performance.now();
    this.#socket.sendRaw(batch);
    const ms = performance.now() - startedAt;
    const last = this.#traffic;
    this.#traffic = {
      transactions: last.transactions + 1,
      messages: last.messages + messages,
      bytes: last.bytes + batch.length,
      bytesMax: Math.max(last.bytesMax, batch.length),
      msMax: Math.max(last.msMax, ms),
    };
  }

  /** The kernel is done when `send` returns: whatever it has to say waits in the socket. */
  #answers(first: number, tried: string): Acknowledgement[] {
    const answers: Acknowledgement[] = [];
    for (;;) {
      const messages = this.#socket.receive();
      if (messages === undefined) return answers;
      if (messages === 'overrun') {
        if (answers.some(({ errno }) => errno !== 0)) return answers;
        throw new WorldError('NETLINK', `Cannot ${tried}: the kernel's answer was lost`);
      }
      for (const message of messages) {
        if (message.sequence < first || message.type !== NLMSG_ERROR) continue;
        answers.push(decodeAcknowledgement(message));
      }
    }
  }
}

/** Two messages that hold a batch together, each with a header, and an attribute in the first. */
const BATCH_BYTES = 2 * (NLMSG_HEADER_BYTES + 4) + 8;

function messageBytes(body: Uint8Array): number {
  return NLMSG_HEADER_BYTES + ((body.length + 3) & ~3);
}

/** The bytes of a transaction; `first` numbers the message that opens the batch. */
export function encodeBatch(
  transaction: Transaction,
  first: number,
  generation?: number,
): Uint8Array<ArrayBuffer> {
  const bytes = transaction.reduce((sum, { body }) => sum + messageBytes(body), BATCH_BYTES);
  const writer = new ByteWriter(bytes);
  writeBatchMessage(writer, NFNL_MSG_BATCH_BEGIN, first, generation);
  const last = transaction.length - 1;
  transaction.forEach((message, index) => {
    const flags = NLM_F_REQUEST | (index === last ? NLM_F_ACK : 0);
    writeMessage(writer, message, { sequence: first + 1 + index, flags });
  });
  writeBatchMessage(writer, NFNL_MSG_BATCH_END, first + 1 + transaction.length);
  return writer.bytes();
}

/** Begin and end carry `struct nfgenmsg` with the subsystem as resource id. */
function writeBatchMessage(
  writer: ByteWriter,
  type: number,
  sequence: number,
  generation?: number,
): void {
  const body = new ByteWriter(16);
  body.u8(0);
  body.u8(0);
  body.u16be(NFNL_SUBSYS_NFTABLES);
  if (generation !== undefined) attr.u32be(NFNL_BATCH_GENID, generation)(body);
  writeMessage(writer, { type, flags: 0, body: body.bytes() }, { sequence, flags: NLM_F_REQUEST });
}

/** Which message of the transaction an answer is about; undefined for the batch as a whole. */
function indexOf(
  ack: Acknowledgement,
  { first, count }: { first: number; count: number },
): number | undefined {
  const index = ack.sequence - first - 1;
  return index >= 0 && index < count ? index : undefined;
}

/** Parts of at most `bytesMax`, in order; a message is never cut. */
function splitTransaction(transaction: Transaction, bytesMax: number): Message[][] {
  const parts: Message[][] = [];
  let room = 0;
  for (const message of transaction) {
    const bytes = messageBytes(message.body);
    const part = parts.at(-1);
    if (part === undefined || bytes > room) {
      parts.push([message]);
      room = bytesMax - bytes;
    } else {
      part.push(message);
      room -= bytes;
    }
  }
  return parts;
}
