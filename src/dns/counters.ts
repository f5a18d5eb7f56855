/** What the server counts while it answers: plain numbers, read when somebody scrapes them. */

import type { RequestFacts } from '../client/http-client.ts';
import { AnswerCounts, sumOf, type AllCounts } from './answer-counts.ts';

export class DnsCounters {
  readonly #sockets = new Map<string, SocketCounts>();
  panics = 0;
  /** Probes of /health, with CoreDNS's bounds; `failed`: whoever asked was gone before the answer. */
  readonly health = { seconds: new Histogram(5, 0.00025, 10), failed: 0 };
  /** Requests to the API server. */
  readonly api = new ApiCounts();
  /** Of the Corefile: how often a changed one could not be used, and which is in use. */
  readonly reload = { failed: 0, digest: '', lastError: '' };
  /** Seconds from a change of the pods to our taking it in, each once (D104). */
  readonly programmingSeconds = new Histogram(20, 0.001);

  /** A probe of /health was answered, or nobody waited for that. */
  probed(ms: number, isAnswered: boolean): void {
    if (isAnswered) this.health.seconds.observe(ms / 1000);
    else this.health.failed += 1;
  }

  /** Of the socket that metrics call so; it keeps them when another configuration takes it over. */
  of(label: string): SocketCounts {
    const known = this.#sockets.get(label);
    if (known !== undefined) return known;
    const counts = new SocketCounts();
    this.#sockets.set(label, counts);
    return counts;
  }
}

/** What one socket answered. */
export class SocketCounts {
  /** This thread's. */
  readonly own = new AnswerCounts();
  readonly #workers: AnswerCounts[] = [];
  /** Seconds that each answer took which was not kept, with CoreDNS's bounds. */
  readonly seconds = new Histogram(16, 0.00025);

  /** Counts that belong to these, for a worker. */
  forWorker(): AnswerCounts {
    const counts = new AnswerCounts();
    this.#workers.push(counts);
    return counts;
  }

  /** Of all threads; `hits` are kept answers of other servers that did not go through their cache. */
  answers(): AllCounts {
    return sumOf([this.own, ...this.#workers]);
  }
}

/** How many of each size; one more than there are bounds. */
export type Spread = {
  readonly counts: readonly number[];
  readonly bounds: readonly number[];
  readonly sum: number;
};

/** Counts per bucket. */
export class Histogram {
  /** The last one has no upper bound. */
  readonly counts: number[];
  readonly bounds: readonly number[];
  sum = 0;

  /** Each bucket is `factor` times as wide as the one before. */
  constructor(buckets: number, first: number, factor = 2) {
    this.bounds = Array.from({ length: buckets }, (_, index) => scaled(first, factor, index));
    this.counts = Array.from({ length: buckets + 1 }, () => 0);
  }

  observe(value: number): void {
    const index = this.bounds.findIndex((bound) => value <= bound);
    const at = index < 0 ? this.bounds.length : index;
    this.counts[at] = this.counts[at]! + 1;
    this.sum += value;
  }
}

/** Without what multiplying leaves behind the last digit that counts. */
function scaled(first: number, factor: number, index: number): number {
  return Number((first * factor ** index).toPrecision(12));
}

/** One of several with the same bounds, at least one. */
export function sumOfHistograms(all: readonly Histogram[]): Spread {
  const { bounds, counts } = all[0]!;
  return {
    bounds,
    counts: counts.map((_, at) => all.reduce((sum, one) => sum + one.counts[at]!, 0)),
    sum: all.reduce((total, { sum }) => total + sum, 0),
  };
}

/** client-go's bounds for requests, as CoreDNS has them. */
const apiBuckets = { count: 10, first: 0.001 } as const;

/** Requests to the API server by what metrics tell apart. */
class ApiCounts {
  readonly #requests = new Map<string, { labels: Labels; count: number }>();
  readonly #seconds = new Map<string, { labels: Labels; histogram: Histogram }>();

  requested({ code, method, host, durationMs }: RequestFacts): void {
    const key = `${code} ${method} ${host}`;
    const known = this.#requests.get(key);
    if (known !== undefined) known.count += 1;
    else this.#requests.set(key, { labels: { code, method, host }, count: 1 });
    const timed = this.#seconds.get(`${method} ${host}`) ?? {
      labels: { verb: method, host },
      histogram: new Histogram(apiBuckets.count, apiBuckets.first),
    };
    this.#seconds.set(`${method} ${host}`, timed);
    timed.histogram.observe(durationMs / 1000);
  }

  requests() {
    return [...this.#requests.values()].map(({ labels, count }) => [labels, count] as const);
  }

  seconds() {
    return [...this.#seconds.values()].map(({ labels, histogram }) => [labels, histogram] as const);
  }
}

type Labels = Readonly<Record<string, string>>;
