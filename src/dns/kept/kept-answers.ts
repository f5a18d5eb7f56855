/**
 * Answers kept encoded, in front of everything else: a known question costs a look-up by its bytes, a
 * copy, an id and a new order of addresses. Pointers into the question make owner names come out in
 * each asker's spelling. An answer is good as long as nothing changes that was read for it.
 */
import { isAsked, isFresh, kindOf, writeReply, type Kind, type Out } from './entry.ts';
import { FLAG } from '../wire/message.ts';
import { bytesOf, newRawQuery, type Bytes, type RawQuery } from './raw-query.ts';
import { bucketOf, CONTROL, entryPrefixBytes, placesPerBucket, type Store } from './store.ts';

const none = bytesOf(new Uint8Array(0));

/** The reading side; each thread has its own over the same store. */
export class KeptAnswers {
  readonly #store: Store;
  readonly #asked: { packet: Bytes; query: RawQuery; nowMs: number; random: () => number };
  /** Of the answer that was given last. */
  kind: Kind = 'own';

  /** `random` is between 0 and 1. */
  constructor(store: Store, random: () => number) {
    this.#store = store;
    this.#asked = { packet: none, query: newRawQuery(), nowMs: 0, random };
  }

  /**
   * Writes the reply to `out`; its length, or 0 when it must be made by others. Where another thread
   * has written meanwhile, what was read may be anything, and counts as nothing.
   */
  answer(packet: Bytes, query: RawQuery, nowMs: number, out: Out): number {
    const { control } = this.#store;
    const before = Atomics.load(control, CONTROL.writes);
    if ((before & 1) !== 0) return 0;
    const length = this.#answer(packet, query, nowMs, out);
    return Atomics.load(control, CONTROL.writes) === before ? length : 0;
  }

  #answer(packet: Bytes, query: RawQuery, nowMs: number, out: Out): number {
    const entry = find(this.#store, packet, query);
    if (entry === 0 || !isFresh(this.#store, entry, nowMs)) return 0;
    this.kind = kindOf(this.#store, entry);
    // What other servers say may differ by these bits, which are not part of the key (D83).
    if (this.kind !== 'own' && (query.dnssecOk || (query.flags & FLAG.CD) !== 0)) return 0;
    const asked = this.#asked;
    asked.packet = packet;
    asked.query = query;
    asked.nowMs = nowMs;
    return writeReply(this.#store, entry, asked, out);
  }
}

/** The entry of the question, fresh or not; 0: there is none. */
export function find(store: Store, packet: Bytes, query: RawQuery): number {
  const { index } = store;
  const bucket = bucketOf(query.hash);
  const end = bucket + placesPerBucket.count * placesPerBucket.words;
  for (let place = bucket; place < end; place += placesPerBucket.words) {
    if (index[place] !== query.hash || index[place + 1] === 0) continue;
    const entry = index[place + 1]! + entryPrefixBytes;
    if (isAsked(store, entry, packet, query)) return entry;
  }
  return 0;
}
