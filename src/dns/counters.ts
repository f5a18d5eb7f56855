/** What the server counts while it answers: plain numbers, read when somebody scrapes them. */

import { AnswerCounts, sumOf, type AnswerCount, type AnswerKind } from './answer-counts.ts';

export class DnsCounters {
  /** Of this thread first, then of each worker. */
  readonly #answers = [new AnswerCounts()];
  panics = 0;
  /** Seconds that each answer took which was not kept, with CoreDNS's bounds. */
  readonly requestSeconds = new Histogram(16, 0.00025);
  /** Of the Corefile: how often a changed one could not be used, and which is in use. */
  readonly reload = { failed: 0, digest: '', lastError: '' };
  /** Seconds from a change of the pods to our taking it in, each once (D104). */
  readonly programmingSeconds = new Histogram(20, 0.001);

  answered(answer: AnswerKind): void {
    this.#answers[0]!.answered(answer);
  }

  /** Counts that belong to these, for a worker. */
  forWorker(): AnswerCounts {
    const counts = new AnswerCounts();
    this.#answers.push(counts);
    return counts;
  }

  /** This thread's own. */
  get own(): AnswerCounts {
    return this.#answers[0]!;
  }

  answers(): readonly AnswerCount[] {
    return sumOf(this.#answers);
  }

  total(): number {
    return this.answers().reduce((sum, { count }) => sum + count, 0);
  }

  /** Kept answers of other servers that did not go through their cache. */
  hits(kind: 'success' | 'denial'): number {
    return this.#answers.reduce((sum, counts) => sum + counts.hits(kind), 0);
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
