/** The way of a question whose answer is kept: no object is made, nothing is decoded. */
import type { AnswerCounts } from '../answer-counts.ts';
import type { Out } from './entry.ts';
import { KeptAnswers } from './kept-answers.ts';
import { newRawQuery, readRawQuery, roomOf, type Bytes } from './raw-query.ts';
import type { Store } from './store.ts';

/** Where answers are kept, and in what order addresses go out. */
export type KeptSource = {
  readonly store: Store;
  /** Between 0 and 1, for the order of addresses; absent: they stay as they are. */
  readonly random: (() => number) | undefined;
};

export type FastPathOptions = {
  readonly counts: AnswerCounts;
  /** Monotonic, the same in all threads. */
  readonly nowMs: () => number;
  /** Takes what was thrown where nothing should; the question then goes the long way. */
  readonly failed: (error: unknown) => void;
};

/** Where in its buffer a packet stands. */
type Range = { readonly start: number; readonly end: number };

/** The upper end of the range leaves every record in its place. */
const inOrder = () => 1 - Number.EPSILON;

export class FastPath {
  readonly #counts: AnswerCounts;
  readonly #nowMs: () => number;
  readonly #failed: (error: unknown) => void;
  #kept: readonly KeptAnswers[] = [];
  readonly #query = newRawQuery();
  readonly #counted = { transport: 'udp' as 'udp' | 'tcp', type: 0, rcode: 0 };

  constructor(sources: readonly KeptSource[], { counts, nowMs, failed }: FastPathOptions) {
    this.#failed = failed;
    this.#counts = counts;
    this.#nowMs = nowMs;
    this.use(sources);
  }

  /** Answers from there from now on; no two of them know the same question. */
  use(sources: readonly KeptSource[]): void {
    this.#kept = sources.map(({ store, random }) => new KeptAnswers(store, random ?? inOrder));
  }

  /** Writes the reply to the query in `packet`, counted, and says how long it is; 0: not kept. */
  answer(packet: Bytes, range: Range, transport: 'udp' | 'tcp', out: Out): number {
    try {
      return this.#answer(packet, range, transport, out);
    } catch (error) {
      this.#failed(error);
      return 0;
    }
  }

  #answer(packet: Bytes, range: Range, transport: 'udp' | 'tcp', out: Out): number {
    const query = this.#query;
    if (!readRawQuery(packet, range.start, range.end, query)) return 0;
    out.room = transport === 'tcp' ? out.roomMax : Math.min(roomOf(query), out.roomMax);
    for (const kept of this.#kept) {
      const length = kept.answer(packet, query, this.#nowMs(), out);
      if (length === 0) continue;
      this.#count(packet.view.getUint16(query.questionEnd - 4), transport, out);
      if (kept.kind !== 'own') this.#counts.hit(kept.kind);
      return length;
    }
    return 0;
  }

  #count(type: number, transport: 'udp' | 'tcp', out: Out): void {
    const counted = this.#counted;
    counted.transport = transport;
    counted.type = type;
    counted.rcode = out.bytes[out.at + 3]! & 0xf;
    this.#counts.answered(counted);
  }
}
