/** Answers of other servers, kept for a short time (D83-D86). */
import type { CacheSettings } from '../config/types.ts';
import { dnsLimits } from '../limits.ts';
import { decodeMessage } from '../wire/decode.ts';
import { encodeMessage } from '../wire/encode.ts';
import { FLAG, RCODE, rcodeOf, TYPE, type Message, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin } from '../wire/name.ts';

type Entry = { readonly bytes: Uint8Array; readonly expiresAtMs: number };

type Kind = 'success' | 'denial';

/** `expiresAtMs` is monotonic. */
type Hit = { readonly message: Message; readonly kind: Kind; readonly expiresAtMs: number };

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

  /** `now` counts milliseconds and never goes back. */
  constructor(settings: CacheSettings, now: () => number) {
    this.#settings = settings;
    this.#now = now;
  }

  get size(): { success: number; denial: number } {
    const { success, denial } = this.#stores;
    return { success: success.entries.size, denial: denial.entries.size };
  }

  /** The message with what is left of its TTL. */
  get(key: string): Hit | undefined {
    const now = this.#now();
    for (const kind of ['denial', 'success'] as const) {
      const store = this.#stores[kind];
      const entry = store.entries.get(key);
      if (entry === undefined) continue;
      if (entry.expiresAtMs <= now) {
        drop(store, key);
        continue;
      }
      this.hits[kind] += 1;
      const { bytes, expiresAtMs } = entry;
      const message = withTtl(decodeMessage(bytes), Math.ceil((expiresAtMs - now) / 1000));
      return { message, kind, expiresAtMs };
    }
    this.misses += 1;
    return undefined;
  }

  /** Keeps the message if it may be kept, and gives it back with the TTL that all its records share. */
  put(key: string, message: Message): Message {
    const life = lifeOf(message, this.#settings);
    if (life === undefined) return message;
    const kept = withTtl(message, life.seconds);
    const name = foldCase(message.questions[0]!.name);
    if (this.#settings[life.kind].disabled.some((zone) => isWithin(name, zone))) return kept;
    const other = life.kind === 'success' ? 'denial' : 'success';
    // A failure does not displace an answer that is still good.
    if (life.failure && this.#isFresh('success', key)) return kept;
    drop(this.#stores[other], key);
    const store = this.#stores[life.kind];
    drop(store, key);
    const bytes = new Uint8Array(encodeMessage(kept));
    this.#makeRoom(store, bytes.length, this.#settings[life.kind].entriesMax);
    store.entries.set(key, { bytes, expiresAtMs: this.#now() + life.seconds * 1000 });
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

  #isFresh(kind: Kind, key: string): boolean {
    return (this.#stores[kind].entries.get(key)?.expiresAtMs ?? 0) > this.#now();
  }
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
