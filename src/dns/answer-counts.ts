/**
 * How many questions were answered, of each kind and size, in memory that threads can share: one
 * writes, all read. An answer costs a few additions to numbers: nothing is made for it.
 */

/** How a question came: bits of both say which, so that counting needs no texts. */
export const VIA = { udp: 0, tcp: 1, ipv6: 2 } as const;

/** Whether a client speaks IPv6: a socket for both families shows IPv4 ones as `::ffff:192.0.2.1`. */
export function isIpv6(address: string): boolean {
  return address.includes(':') && !address.startsWith('::ffff:');
}

/** Who made the answer, as metrics call it. The empty text: the server itself. */
const plugins = [
  '',
  'kubernetes',
  'cache',
  'forward',
  'hosts',
  'template',
  'acl',
  'whoami',
  'chaos',
  'loop',
  'transfer',
  'autopath',
  'rewrite',
  'other',
] as const;
export type Plugin = (typeof plugins)[number];

/** The number that `answered` wants of a stage. */
export function pluginNumber(stage: string): number {
  const known = plugins.indexOf((stage === 'server' ? '' : stage) as Plugin);
  return known < 0 ? plugins.indexOf('other') : known;
}

/** `dropped`: refused before any zone was asked. */
export const places = ['served', 'dropped'] as const;
export type Place = (typeof places)[number];

/** One object serves all answers of a thread. */
export type AnswerKind = {
  /** Bits of `VIA`. */
  via: number;
  type: number;
  rcode: number;
  /** As `pluginNumber` says. */
  plugin: number;
  dnssecOk: boolean;
  requestBytes: number;
  replyBytes: number;
  dropped: boolean;
};

/** Types that metrics tell apart, as CoreDNS does (plugin/pkg/monitor); all others share a row. */
const typeNumbers = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  PTR: 12,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  DS: 43,
  RRSIG: 46,
  NSEC: 47,
  DNSKEY: 48,
  NSEC3: 50,
  HTTPS: 65,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
} as const;
const typeRows = ['other', ...Object.keys(typeNumbers)];
const rowOfType = new Uint8Array(256);
Object.values(typeNumbers).forEach((type, index) => (rowOfType[type] = index + 1));

/** Upper ends of the sizes that metrics tell apart (plugin/metrics/vars). */
export const sizeBounds = [
  0, 100, 200, 300, 400, 511, 1023, 2047, 4095, 8291, 16_000, 32_000, 48_000, 64_000,
] as const;
/** Of sizes in hundreds up to where steps grow; most are below. */
const smallBytes = 400;

// Where in a place which numbers stand.
const typesAt = 0;
const responsesAt = typesAt + (32 << 2);
const sizeWords = 16;
/** Of each transport: buckets, and the sum behind them. */
const requestSizesAt = responsesAt + (16 << 4);
const replySizesAt = requestSizesAt + 2 * sizeWords;
const dnssecAt = replySizesAt + 2 * sizeWords;
const placeWords = dnssecAt + 8;
/** Answers of other servers that were kept, by kind; they stand behind the places. */
const hitsAt = { success: places.length * placeWords, denial: places.length * placeWords + 1 };
const wordCount = hitsAt.denial + 1;

export class AnswerCounts {
  readonly memory: SharedArrayBuffer;
  readonly numbers: Float64Array;

  /** Those of another thread are read where its memory is given. */
  constructor(memory = new SharedArrayBuffer(wordCount * 8)) {
    this.memory = memory;
    this.numbers = new Float64Array(memory);
  }

  answered(answer: AnswerKind): void {
    const { via, type } = answer;
    const base = answer.dropped ? placeWords : 0;
    const row = type < 256 ? rowOfType[type]! : 0;
    this.#add(base + typesAt + ((row << 2) | via), 1);
    this.#add(base + responsesAt + ((answer.plugin << 4) | answer.rcode), 1);
    if (answer.dnssecOk) this.#add(base + dnssecAt, 1);
    const tcp = (via & VIA.tcp) * sizeWords;
    this.#size(base + requestSizesAt + tcp, answer.requestBytes);
    this.#size(base + replySizesAt + tcp, answer.replyBytes);
  }

  #size(at: number, bytes: number): void {
    this.#add(at + bucketOf(bytes), 1);
    this.#add(at + sizeWords - 1, bytes);
  }

  #add(at: number, amount: number): void {
    this.numbers[at] = this.numbers[at]! + amount;
  }

  hit(kind: 'success' | 'denial'): void {
    this.#add(hitsAt[kind], 1);
  }
}

function bucketOf(bytes: number): number {
  if (bytes <= smallBytes) return ((bytes + 99) / 100) | 0;
  let bucket = 5;
  while (bucket < sizeBounds.length && bytes > sizeBounds[bucket]!) bucket += 1;
  return bucket;
}

export type RequestCount = {
  readonly proto: 'udp' | 'tcp';
  /** As CoreDNS has it: 1 for IPv4, 2 for IPv6. */
  readonly family: '1' | '2';
  readonly type: string;
  readonly count: number;
};

export type ResponseCount = {
  readonly plugin: Plugin;
  readonly rcode: number;
  readonly count: number;
};

export type SizeCount = {
  readonly proto: 'udp' | 'tcp';
  /** One more than there are bounds. */
  readonly counts: readonly number[];
  readonly sum: number;
};

/** What was counted in one place, for reading. */
export type PlaceCounts = {
  readonly requests: readonly RequestCount[];
  readonly responses: readonly ResponseCount[];
  readonly requestSizes: readonly SizeCount[];
  readonly replySizes: readonly SizeCount[];
  readonly dnssecOk: number;
  readonly total: number;
};

export type AllCounts = Readonly<Record<Place, PlaceCounts>> & {
  readonly hits: { readonly success: number; readonly denial: number };
};

/** The sums of several threads. */
export function sumOf(all: readonly AnswerCounts[]): AllCounts {
  const sums = new Float64Array(wordCount);
  for (const { numbers } of all) numbers.forEach((number, at) => (sums[at] = sums[at]! + number));
  const placeAt = (index: number) =>
    placeOf(sums.subarray(index * placeWords, (index + 1) * placeWords));
  return {
    served: placeAt(0),
    dropped: placeAt(1),
    hits: { success: sums[hitsAt.success]!, denial: sums[hitsAt.denial]! },
  };
}

function placeOf(numbers: Float64Array): PlaceCounts {
  const rows = [...numbers.subarray(typesAt, responsesAt)];
  const requests = rows.map((count, row): RequestCount => {
    const family = (row & VIA.ipv6) === 0 ? '1' : '2';
    return { proto: protoOf(row), family, type: typeRows[row >> 2] ?? 'other', count };
  });
  const kinds = [...numbers.subarray(responsesAt, requestSizesAt)];
  const responses = kinds.map((count, kind) => {
    return { plugin: plugins[kind >> 4] ?? 'other', rcode: kind & 0xf, count };
  });
  const given = <T extends { readonly count: number }>(counts: readonly T[]) =>
    counts.filter(({ count }) => count > 0);
  return {
    requests: given(requests),
    responses: given(responses),
    requestSizes: sizesIn(numbers, requestSizesAt),
    replySizes: sizesIn(numbers, replySizesAt),
    dnssecOk: numbers[dnssecAt]!,
    total: rows.reduce((sum, count) => sum + count, 0),
  };
}

function sizesIn(numbers: Float64Array, start: number): SizeCount[] {
  return [VIA.udp, VIA.tcp]
    .map((via): SizeCount => {
      const at = start + via * sizeWords;
      const counts = [...numbers.subarray(at, at + sizeBounds.length + 1)];
      return { proto: protoOf(via), counts, sum: numbers[at + sizeWords - 1]! };
    })
    .filter(({ counts }) => counts.some((count) => count > 0));
}

function protoOf(via: number): 'udp' | 'tcp' {
  return (via & VIA.tcp) === 0 ? 'udp' : 'tcp';
}
