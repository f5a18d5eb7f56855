/** The way of a question whose answer is kept: no object is made, nothing is decoded. */
import type { DnsCounters } from '../counters.ts';
import type { MessageCache } from '../upstream/message-cache.ts';
import { messageBytesMax } from '../wire/message.ts';
import type { Out } from './entry.ts';
import { KeptAnswers } from './kept-answers.ts';
import { newRawQuery, readRawQuery, roomOf, type Bytes } from './raw-query.ts';
import type { Store } from './store.ts';

/** Answers that are kept, and where those of other servers are counted. */
export type KeptSource = { readonly store: Store; readonly cache: MessageCache | undefined };

export type FastPathOptions = {
  readonly source: KeptSource;
  readonly counters: DnsCounters;
  /** Monotonic. */
  readonly nowMs: () => number;
  /** Between 0 and 1, for the order of addresses; absent: they stay as they are. */
  readonly random: (() => number) | undefined;
};

/** The upper end of the range leaves every record in its place. */
const inOrder = () => 1 - Number.EPSILON;

export class FastPath {
  readonly #options: FastPathOptions;
  readonly #kept: KeptAnswers;
  readonly #query = newRawQuery();

  constructor(options: FastPathOptions) {
    this.#options = options;
    this.#kept = new KeptAnswers(options.source.store, options.random ?? inOrder);
  }

  /** Writes the reply to the query in `packet`, counted, and says how long it is; 0: not kept. */
  answer(
    packet: Bytes,
    { start, end }: { readonly start: number; readonly end: number },
    transport: 'udp' | 'tcp',
    out: Out,
  ): number {
    const query = this.#query;
    if (!readRawQuery(packet, start, end, query)) return 0;
    const { counters, nowMs, source } = this.#options;
    out.room = transport === 'tcp' ? messageBytesMax : roomOf(query);
    const length = this.#kept.answer(packet, query, nowMs(), out);
    if (length === 0) return 0;
    counters.answered({
      transport,
      type: packet.view.getUint16(query.questionEnd - 4),
      rcode: out.bytes[out.at + 3]! & 0xf,
      bytes: length,
    });
    const { kind } = this.#kept;
    if (kind !== 'own' && source.cache !== undefined) source.cache.hits[kind] += 1;
    return length;
  }
}
