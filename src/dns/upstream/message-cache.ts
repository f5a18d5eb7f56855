/** Answers of other servers, kept for a short time (D83-D86). */
import type { CacheSettings } from '../config/types.ts';
import { dnsLimits } from '../limits.ts';
import { decodeMessage } from '../wire/decode.ts';
import { encodeMessage } from '../wire/encode.ts';
import { FLAG, RCODE, rcodeOf, TYPE, type Message, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin } from '../wire/name.ts';

type Kind = 'success' | 'denial';

type Entry = {
  readonly kind: Kind;
  readonly bytes: Uint8Array;
  readonly flags: number;
  /** What the records came with. */
  readonly ttlSeconds: number;
  /** Monotonic. */
  readonly expiresAtMs: number;
  /** A server failed: a good answer comes before it. */
  readonly failure: boolean;
  /** For prefetching: hits in a row, and when the last was. */
  hits: number;
  hitAtMs: number;
  /** Somebody asks anew already, or did so in vain lately. */
  refreshing: boolean;
  retryAtMs: number;
};

/** A kept answer; `leftMs` is not above 0 where it is stale. */
export type Hit = { readonly entry: Entry; readonly kind: Kind; readonly leftMs: number };

/** In order of arrival, with the bytes of all together. */
type Store = { readonly entries: Map<string, Entry>; bytes: number };

export class MessageCache {
  readonly #settings: CacheSettings;
  readonly #now: () => number;
  readonly #stores: { readonly [kind in Kind]: Store } = {
    success: { entries: new Map(), bytes: 0 },
    denial: { entries: new Map(), bytes: 0 },
  };
  readonly hits = { success: 0, denial: 0 };
  misses = 0;
  evictions = 0;
  prefetches = 0;
  servedStale = 0;

  /** `now` counts milliseconds and never goes back. */
  constructor(settings: CacheSettings, now: () => number) {
    this.#settings = settings;
    this.#now = now;
  }

  get size(): { success: number; denial: number } {
    const { success, denial } = this.#stores;
    return { success: success.entries.size, denial: denial.entries.size };
  }

  /** What is kept for the question, fresh or as stale as may be served. */
  get(key: string): Hit | undefined {
    const now = this.#now();
    const [denial, success] = [this.#usable('denial', key, now), this.#usable('success', key, now)];
    const first = this.#prefersSuccess(denial) ? (success ?? denial) : (denial ?? success);
    if (first === undefined) {
      this.misses += 1;
      return undefined;
    }
    this.hits[first.kind] += 1;
    return { entry: first, kind: first.kind, leftMs: first.expiresAtMs - now };
  }

  /** A denial is newer than a success beside it, but for a failure, which says nothing. */
  #prefersSuccess(denial: Entry | undefined): boolean {
    return denial?.failure === true || this.#settings.serveStale?.preferPositive === true;
  }

  #usable(kind: Kind, key: string, now: number): Entry | undefined {
    const store = this.#stores[kind];
    const entry = store.entries.get(key);
    if (entry === undefined || entry.expiresAtMs > now) return entry;
    if (entry.expiresAtMs + (this.#settings.serveStale?.forMs ?? 0) > now) return entry;
    drop(store, key);
    return undefined;
  }

  /** Keeps the message if it may be kept, and gives it back with the TTL that all its records share. */
  put(key: string, message: Message): Message {
    const life = lifeOf(message, this.#settings);
    if (life === undefined) return message;
    const { kind, seconds, failure } = life;
    const kept = withTtl(message, seconds);
    const name = foldCase(message.questions[0]!.name);
    if (seconds === 0 || this.#settings[kind].disabled.some((zone) => isWithin(name, zone))) {
      return kept;
    }
    // A failure displaces no answer, and where stale answers count neither does a denial.
    const keepsOther = failure || (kind === 'denial' && this.#settings.serveStale !== undefined);
    if (!keepsOther) drop(this.#stores[kind === 'success' ? 'denial' : 'success'], key);
    const store = this.#stores[kind];
    drop(store, key);
    const bytes = new Uint8Array(encodeMessage(kept));
    this.#makeRoom(store, bytes.length, this.#settings[kind].entriesMax);
    const expiresAtMs = this.#now() + seconds * 1000;
    const usage = { hits: 0, hitAtMs: 0, refreshing: false, retryAtMs: 0 };
    const { flags } = message;
    const entry = { kind, bytes, flags, ttlSeconds: seconds, expiresAtMs, failure, ...usage };
    store.entries.set(key, entry);
    store.bytes += bytes.length;
    return kept;
  }

  #makeRoom(store: Store, bytes: number, entriesMax: number): void {
    for (const oldest of store.entries.keys()) {
      const hasRoom = store.entries.size < entriesMax;
      if (hasRoom && store.bytes + bytes <= dnsLimits.cacheBytesMax) return;
      drop(store, oldest);
      this.evictions += 1;
    }
  }

  /** Counts a hit, and says whether so many came that the answer is worth fetching before it expires. */
  isWorthFetching({ entry, leftMs }: Hit): boolean {
    const { prefetch } = this.#settings;
    if (prefetch === undefined || prefetch.hitsMin === 0) return false;
    const now = this.#now();
    entry.hits = now - entry.hitAtMs > prefetch.windowMs ? 1 : entry.hits + 1;
    entry.hitAtMs = now;
    const leastMs = Math.ceil((entry.ttlSeconds * prefetch.percentage) / 100) * 1000;
    return entry.hits >= prefetch.hitsMin && leftMs <= leastMs;
  }

  /** Whether it is this caller's turn to ask anew; if so, it must say how that went. */
  beginRefresh({ entry }: Hit): boolean {
    if (entry.refreshing || this.#now() < entry.retryAtMs) return false;
    entry.refreshing = true;
    return true;
  }

  endRefresh({ entry }: Hit, succeeded: boolean): void {
    entry.refreshing = false;
    entry.retryAtMs = succeeded ? 0 : this.#now() + (this.#settings.serveStale?.recheckMs ?? 0);
  }

  /** The hits of an answer are those of the one that takes its place. */
  passHits(from: Entry, key: string): void {
    const entry = this.#stores[from.kind].entries.get(key);
    if (entry === undefined) return;
    entry.hits = from.hits;
    entry.hitAtMs = from.hitAtMs;
  }
}

/** The kept message, all records with this TTL. */
export function messageIn({ entry }: Hit, ttlSeconds: number): Message {
  return withTtl(decodeMessage(entry.bytes), ttlSeconds);
}

function drop(store: Store, key: string): void {
  store.bytes -= store.entries.get(key)?.bytes.length ?? 0;
  store.entries.delete(key);
}

function withTtl(message: Message, ttl: number): Message {
  const set = (records: readonly ResourceRecord[]) => records.map((record) => ({ ...record, ttl }));
  return {
    ...message,
    answers: set(message.answers),
    authorities: set(message.authorities),
    additionals: set(message.additionals),
  };
}

/** How long a message may be kept and on which side; undefined: not at all (D84, D86). */
export function lifeOf(
  message: Message,
  settings: CacheSettings,
): { kind: Kind; seconds: number; failure: boolean } | undefined {
  if ((message.flags & FLAG.TC) !== 0) return undefined;
  const rcode = rcodeOf(message);
  if (rcode === RCODE.SERVFAIL || rcode === RCODE.NOTIMP) {
    return { kind: 'denial', seconds: settings.failureSeconds, failure: true };
  }
  if (rcode !== RCODE.NOERROR && rcode !== RCODE.NXDOMAIN) return undefined;
  const asked = message.questions[0]!.type;
  const answered = message.answers.some(({ type }) => type === asked || asked === TYPE.ANY);
  const denied = rcode === RCODE.NXDOMAIN || !answered;
  if (denied && !message.authorities.some(({ type }) => type === TYPE.SOA)) return undefined;
  const records = [...message.answers, ...message.authorities, ...message.additionals];
  const shortest = records.reduce((least, { ttl }) => Math.min(least, ttl), Infinity);
  const kind = denied ? 'denial' : 'success';
  const { ttlSecondsMin, ttlSecondsMax } = settings[kind];
  return {
    kind,
    seconds: Math.min(ttlSecondsMax, Math.max(ttlSecondsMin, shortest)),
    failure: false,
  };
}
