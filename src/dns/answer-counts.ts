/** How many answers of each kind were given, in memory that threads can share: one writes, all read. */

/** One kind of answer; the texts are metric labels. */
export type AnswerCount = {
  readonly transport: 'udp' | 'tcp';
  /** 0 for the types of which each would have a row of its own. */
  readonly type: number;
  readonly rcode: number;
  readonly count: number;
};

export type AnswerKind = {
  readonly transport: 'udp' | 'tcp';
  readonly type: number;
  readonly rcode: number;
};

/** Types are 16 bits and come from clients: those from here on share a row, so that rows are few. */
const typesMax = 512;
const rowCount = typesMax << 5;
/** Answers of other servers that were kept, by kind; they stand behind the rows. */
const hitsAt = { success: rowCount, denial: rowCount + 1 } as const;

export class AnswerCounts {
  readonly memory: SharedArrayBuffer;
  readonly #counts: Float64Array;

  /** Those of another thread are read where its memory is given. */
  constructor(memory = new SharedArrayBuffer((rowCount + 2) * 8)) {
    this.memory = memory;
    this.#counts = new Float64Array(memory);
  }

  answered({ transport, type, rcode }: AnswerKind): void {
    const shown = type < typesMax ? type : 0;
    const row = (shown << 5) | (rcode << 1) | (transport === 'tcp' ? 1 : 0);
    this.#counts[row] = this.#counts[row]! + 1;
  }

  hit(kind: 'success' | 'denial'): void {
    this.#counts[hitsAt[kind]] = this.#counts[hitsAt[kind]]! + 1;
  }

  hits(kind: 'success' | 'denial'): number {
    return this.#counts[hitsAt[kind]]!;
  }

  /** Adds each row to the sums by row. */
  addTo(sums: Map<number, number>): void {
    this.#counts.subarray(0, rowCount).forEach((count, row) => {
      if (count > 0) sums.set(row, (sums.get(row) ?? 0) + count);
    });
  }
}

/** The sums of several threads. */
export function sumOf(all: readonly AnswerCounts[]): AnswerCount[] {
  const sums = new Map<number, number>();
  for (const counts of all) counts.addTo(sums);
  return [...sums].map(([row, count]) => ({
    transport: (row & 1) === 1 ? 'tcp' : 'udp',
    type: row >> 5,
    rcode: (row >> 1) & 0xf,
    count,
  }));
}
