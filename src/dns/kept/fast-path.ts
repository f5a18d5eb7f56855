/** The way of a question whose answer is kept: no object is made, nothing is decoded. */
import { pluginNumber, VIA, type AnswerCounts, type AnswerKind } from '../answer-counts.ts';
import type { Out } from './entry.ts';
import { KeptAnswers } from './kept-answers.ts';
import { newRawQuery, readRawQuery, roomOf, type Bytes } from './raw-query.ts';
import type { Store } from './store.ts';

/** Where answers are kept, and in what order addresses go out. */
export type KeptSource = {
  readonly store: Store;
  /** Between 0 and 1, for the order of addresses; absent: they stay as they are. */
  readonly random: (() => number) | undefined;
  /** Longer replies over UDP than this are not for anyone, whatever the client takes (`bufsize`). */
  readonly udpBytesMax: number;
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

const own = pluginNumber('kubernetes');
const cache = pluginNumber('cache');

/** The upper end of the range leaves every record in its place. */
const inOrder = () => 1 - Number.EPSILON;

export class FastPath {
  readonly #counts: AnswerCounts;
  readonly #nowMs: () => number;
  readonly #failed: (error: unknown) => void;
  #kept: readonly { readonly answers: KeptAnswers; readonly udpBytesMax: number }[] = [];
  readonly #query = newRawQuery();
  readonly #counted: AnswerKind = {
    via: 0,
    type: 0,
    rcode: 0,
    plugin: 0,
    dnssecOk: false,
    requestBytes: 0,
    replyBytes: 0,
    dropped: false,
  };

  constructor(sources: readonly KeptSource[], { counts, nowMs, failed }: FastPathOptions) {
    this.#failed = failed;
    this.#counts = counts;
    this.#nowMs = nowMs;
    this.use(sources);
  }

  /** Answers from there from now on; no two of them know the same question. */
  use(sources: readonly KeptSource[]): void {
    this.#kept = sources.map(({ store, random, udpBytesMax }) => {
      return { answers: new KeptAnswers(store, random ?? inOrder), udpBytesMax };
    });
  }

  /**
   * Writes the reply to the query in `packet`, counted, and says how long it is; 0: not kept. `via` is
   * made of bits of `VIA`.
   */
  answer(packet: Bytes, range: Range, via: number, out: Out): number {
    try {
      return this.#answer(packet, range, via, out);
    } catch (error) {
      this.#failed(error);
      return 0;
    }
  }

  #answer(packet: Bytes, range: Range, via: number, out: Out): number {
    const query = this.#query;
    if (!readRawQuery(packet, range.start, range.end, query)) return 0;
    const overTcp = (via & VIA.tcp) !== 0;
    const asSent = query.udpBytes;
    for (const { answers: kept, udpBytesMax } of this.#kept) {
      query.udpBytes = Math.min(asSent, udpBytesMax);
      out.room = overTcp ? out.roomMax : Math.min(roomOf(query), out.roomMax);
      const length = kept.answer(packet, query, this.#nowMs(), out);
      if (length === 0) continue;
      const counted = this.#counted;
      counted.via = via;
      counted.type = packet.view.getUint16(query.questionEnd - 4);
      counted.rcode = out.bytes[out.at + 3]! & 0xf;
      counted.plugin = kept.kind === 'own' ? own : cache;
      counted.dnssecOk = query.dnssecOk;
      counted.requestBytes = range.end - range.start;
      counted.replyBytes = length;
      this.#counts.answered(counted);
      if (kept.kind !== 'own') this.#counts.hit(kept.kind);
      return length;
    }
    return 0;
  }
}
