/**
 * Encoded answers in one piece of memory that threads can share: one thread writes, all read. Answers
 * lie in two rings, one for denials so that names made up at random do not drive out real ones; the
 * oldest of a ring go first. Pages that were never used cost nothing.
 */
import { bytesOf, type Bytes } from './raw-query.ts';

const bucketBits = 16;
const waysPerBucket = 4;
/** Hash, then where the entry lies, 0 for a free place. */
const wordsPerPlace = 2;
const wordsPerBucket = waysPerBucket * wordsPerPlace;
const indexWords = (1 << bucketBits) * wordsPerBucket;

/** Each thing that an answer was made from has a version, shared by what falls on the same place. */
export const versionCount = 1 << 14;

const ringBytes = { answers: 24 * 1024 * 1024, denials: 8 * 1024 * 1024 } as const;
export type RingName = keyof typeof ringBytes;

/** Words of the control block. */
export const CONTROL = { writes: 0, serial: 1, words: 16 } as const;

const layout = {
  control: 0,
  versions: CONTROL.words * 4,
  index: CONTROL.words * 4 + versionCount * 4,
  arena: CONTROL.words * 4 + versionCount * 4 + indexWords * 4,
} as const;
const totalBytes = layout.arena + ringBytes.answers + ringBytes.denials;

export type Store = {
  readonly memory: SharedArrayBuffer;
  readonly control: Int32Array;
  readonly versions: Uint32Array;
  readonly index: Uint32Array;
  readonly arena: Bytes;
};

/** A new store, or the view of another thread's. */
export function openStore(memory = new SharedArrayBuffer(totalBytes)): Store {
  return {
    memory,
    control: new Int32Array(memory, layout.control, CONTROL.words),
    versions: new Uint32Array(memory, layout.versions, versionCount),
    index: new Uint32Array(memory, layout.index, indexWords),
    arena: bytesOf(new Uint8Array(memory, layout.arena)),
  };
}

/** Places of the index that the hash may have: the first word of the first one. */
export function bucketOf(hash: number): number {
  return (hash & ((1 << bucketBits) - 1)) * wordsPerBucket;
}

/** An entry begins with its size and its hash; what follows is `entry.ts`'s. */
export const entryPrefixBytes = 8;
/** Entries begin at multiples of this; offset 0 is never one. */
const alignment = 8;

type Ring = {
  readonly start: number;
  readonly end: number;
  /** Where the next entry goes. */
  head: number;
  /** The oldest entry, when entries lie behind `head` up to `wrap`. */
  tail: number;
  wrap: number;
  wrapped: boolean;
};

/** The writing side. */
export class StoreWriter {
  readonly store: Store;
  readonly #rings: { readonly [name in RingName]: Ring };

  constructor(store: Store) {
    this.store = store;
    const middle = alignment + ringBytes.answers;
    this.#rings = {
      answers: newRing(alignment, middle - alignment),
      denials: newRing(middle, middle - alignment + ringBytes.denials - alignment),
    };
  }

  /** Room for an entry of this hash, to be filled by `fill` while readers keep away. */
  add(ring: RingName, hash: number, bytes: number, fill: (at: number) => void): void {
    const { control, arena } = this.store;
    const size = Math.ceil((entryPrefixBytes + bytes) / alignment) * alignment;
    // Odd while something changes: a reader that saw that, or another number, reads again.
    Atomics.add(control, CONTROL.writes, 1);
    const at = this.#allocate(this.#rings[ring], size);
    arena.view.setUint32(at, size, true);
    arena.view.setUint32(at + 4, hash, true);
    fill(at + entryPrefixBytes);
    this.#enter(hash, at);
    Atomics.add(control, CONTROL.writes, 1);
  }

  #allocate(ring: Ring, size: number): number {
    // Each turn brings the tail nearer to `wrap`, or the head back to the start, once.
    for (;;) {
      if (!ring.wrapped && ring.head + size <= ring.end) break;
      if (!ring.wrapped) {
        ring.wrap = ring.head;
        ring.head = ring.start;
        ring.tail = ring.start;
        ring.wrapped = true;
      }
      if (ring.tail >= ring.wrap) ring.wrapped = false;
      else if (ring.tail < ring.head + size) ring.tail += this.#evict(ring.tail);
      else break;
    }
    const at = ring.head;
    ring.head += size;
    return at;
  }

  #evict(at: number): number {
    const { arena, index } = this.store;
    const bucket = bucketOf(arena.view.getUint32(at + 4, true));
    for (let way = 0; way < wordsPerBucket; way += wordsPerPlace) {
      if (index[bucket + way + 1] === at) index[bucket + way + 1] = 0;
    }
    return arena.view.getUint32(at, true);
  }

  /** In place of the entry of the same hash, or in a free place, or in one that chance picks. */
  #enter(hash: number, at: number): void {
    const { index } = this.store;
    const bucket = bucketOf(hash);
    let place = bucket + ((at >> 3) % waysPerBucket) * wordsPerPlace;
    for (let way = wordsPerBucket - wordsPerPlace; way >= 0; way -= wordsPerPlace) {
      if (index[bucket + way + 1] === 0) place = bucket + way;
    }
    for (let way = 0; way < wordsPerBucket; way += wordsPerPlace) {
      if (index[bucket + way + 1] !== 0 && index[bucket + way] === hash) place = bucket + way;
    }
    index[place] = hash;
    index[place + 1] = at;
  }
}

function newRing(start: number, end: number): Ring {
  return { start, end, head: start, tail: start, wrap: start, wrapped: false };
}

/** The entries that have this hash, newest or not: at most `waysPerBucket` per bucket. */
export const placesPerBucket = { count: waysPerBucket, words: wordsPerPlace } as const;
