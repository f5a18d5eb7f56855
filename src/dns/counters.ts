/** What the server counts while it answers: plain numbers, read when somebody scrapes them. */

/** One kind of answer; the texts are metric labels. */
export type AnswerCount = {
  readonly transport: string;
  readonly type: number;
  readonly rcode: number;
  count: number;
};

export class DnsCounters {
  readonly #answers = new Map<number, AnswerCount>();
  responseBytes = 0;
  panics = 0;
  /** Seconds from a change of the pods to our taking it in, each once (D104). */
  readonly programmingSeconds = new Histogram(20, 0.001);

  answered(answer: { transport: 'udp' | 'tcp'; type: number; rcode: number; bytes: number }): void {
    const { transport, type, rcode } = answer;
    // Types are 16 bits and come from clients: the rare ones share a row, so that rows are few.
    const shownType = type < 512 ? type : 0;
    const key = (shownType << 5) | (rcode << 1) | (transport === 'tcp' ? 1 : 0);
    const known = this.#answers.get(key);
    if (known === undefined)
      this.#answers.set(key, { transport, type: shownType, rcode, count: 1 });
    else known.count += 1;
    this.responseBytes += answer.bytes;
  }

  answers(): readonly AnswerCount[] {
    return [...this.#answers.values()];
  }

  total(): number {
    return this.answers().reduce((sum, { count }) => sum + count, 0);
  }
}

/** Counts per bucket, each twice as wide as the one before. */
export class Histogram {
  /** The last one has no upper bound. */
  readonly counts: number[];
  readonly bounds: readonly number[];
  sum = 0;

  constructor(buckets: number, first: number) {
    this.bounds = Array.from({ length: buckets }, (_, index) => first * 2 ** index);
    this.counts = Array.from({ length: buckets + 1 }, () => 0);
  }

  observe(value: number): void {
    const index = this.bounds.findIndex((bound) => value <= bound);
    const at = index < 0 ? this.bounds.length : index;
    this.counts[at] = this.counts[at]! + 1;
    this.sum += value;
  }
}
