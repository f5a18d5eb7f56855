/** The writing side of kept answers: takes them in, and drops them when what they rest on changes. */
import { dnsLimits } from '../limits.ts';
import { FLAG } from '../wire/message.ts';
import type { ChangeListener } from '../zone/zone-data.ts';
import { dissect, type KeepOptions } from './dissect.ts';
import { entryBytes, isFresh, readsMax, writeEntry, type Kept } from './entry.ts';
import { find } from './kept-answers.ts';
import { bytesOf, hashOf, newRawQuery } from './raw-query.ts';
import { CONTROL, openStore, StoreWriter } from './store.ts';

export class AnswerKeeper implements ChangeListener {
  readonly store = openStore();
  readonly #writer = new StoreWriter(this.store);
  readonly #query = newRawQuery();
  readonly #nowMs: () => number;

  /** `nowMs` is monotonic. */
  constructor(nowMs: () => number) {
    this.#nowMs = nowMs;
  }

  /** Keeps a reply that is whole, whatever EDNS it has; does nothing where it cannot be kept. */
  keep(reply: Buffer, options: KeepOptions): void {
    const isCut = (reply.readUInt16BE(2) & FLAG.TC) !== 0;
    if (isCut || reply.length > dnsLimits.answerBytesMax || options.reads.length > readsMax) return;
    const kept = dissect(reply, options);
    if (kept === undefined || this.#isKept(kept)) return;
    const { hash } = this.#query;
    const ring = kept.counts[0] === 0 ? 'denials' : 'answers';
    this.#writer.add(ring, hash, entryBytes(kept), (at) => writeEntry(this.store, at, kept));
  }

  /** Who asks with options of EDNS is never answered from here, and makes the same again and again. */
  #isKept({ question }: Kept): boolean {
    const key = bytesOf(question);
    this.#query.questionStart = 0;
    this.#query.questionEnd = question.length;
    this.#query.hash = hashOf(key.view, 0, question.length);
    const entry = find(this.store, key, this.#query);
    return entry !== 0 && isFresh(this.store, entry, this.#nowMs());
  }

  /** Whatever was read at this place is out of date. */
  outdate(place: number): void {
    const { versions } = this.store;
    Atomics.store(versions, place, versions[place]! + 1);
  }

  /** The serial of our own zones, which each of their SOA records shows. */
  serial(seconds: number): void {
    Atomics.store(this.store.control, CONTROL.serial, seconds | 0);
  }
}
