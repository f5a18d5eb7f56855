/**
 * What a set or map of the kernel holds, key by key. Keys and data are hex text for whoever asks, and
 * words in memory: a quarter of a million endpoints are 12 MB this way, and 60 MB as texts in a Map.
 */
import { assert } from '../../lib/errors.ts';

/** Data are `undefined` where there is no such key, and empty text in a set. */
export type ElementTable = {
  readonly size: number;
  get(key: string): string | undefined;
  set(key: string, data: string): void;
  delete(key: string): void;
  /** Nobody asked for any element yet. */
  unclaimAll(): void;
  /** Somebody asks for this one. */
  claim(key: string): void;
  /** The keys nobody has asked for. */
  unclaimed(): string[];
  entries(): Iterable<readonly [key: string, data: string]>;
};

/** For maps whose data are names, which are few. */
export class TextTable implements ElementTable {
  readonly #elements = new Map<string, string>();
  #unclaimed = new Set<string>();

  get size(): number {
    return this.#elements.size;
  }

  get(key: string): string | undefined {
    return this.#elements.get(key);
  }

  set(key: string, data: string): void {
    this.#elements.set(key, data);
  }

  delete(key: string): void {
    this.#elements.delete(key);
    this.#unclaimed.delete(key);
  }

  unclaimAll(): void {
    this.#unclaimed = new Set(this.#elements.keys());
  }

  claim(key: string): void {
    this.#unclaimed.delete(key);
  }

  unclaimed(): string[] {
    return [...this.#unclaimed];
  }

  entries(): Iterable<readonly [string, string]> {
    return this.#elements;
  }
}

const HEX_PER_WORD = 8;
const SLOTS_MIN = 16;

/** States of a slot. What was deleted keeps its place, so that keys behind it are still found. */
const EMPTY = 0;
const DELETED = 1;
const HELD = 2;
const UNCLAIMED = 3;

/** A hash table of keys of one width with data of one width; the first element sets both. */
export class WordTable implements ElementTable {
  #keyWords = 0;
  #dataWords = 0;
  #keys = new Uint32Array();
  #data = new Uint32Array();
  #states = new Uint8Array();
  #size = 0;
  /** Slots that are not empty. */
  #used = 0;
  /** The words of the key asked for last. */
  #key = new Uint32Array();

  get size(): number {
    return this.#size;
  }

  get(key: string): string | undefined {
    const slot = this.#find(key);
    return slot < 0 ? undefined : textOf(this.#data, slot * this.#dataWords, this.#dataWords);
  }

  set(key: string, data: string): void {
    if (this.#states.length === 0) this.#begin(key, data);
    assert(data.length === this.#dataWords * HEX_PER_WORD, `data of another width: ${data}`);
    let slot = this.#find(key);
    if (slot < 0) {
      // At most three quarters are in use; deleted ones count, and go when it grows.
      if ((this.#used + 1) * 4 > this.#states.length * 3) this.#grow();
      slot = this.#place();
      if (this.#states[slot] === EMPTY) this.#used += 1;
      this.#states[slot] = HELD;
      this.#keys.set(this.#key, slot * this.#keyWords);
      this.#size += 1;
    }
    readWords(data, this.#data, slot * this.#dataWords);
  }

  delete(key: string): void {
    const slot = this.#find(key);
    if (slot < 0) return;
    this.#states[slot] = DELETED;
    this.#size -= 1;
  }

  unclaimAll(): void {
    const states = this.#states;
    for (let slot = 0; slot < states.length; slot += 1) {
      if (states[slot] === HELD) states[slot] = UNCLAIMED;
    }
  }

  claim(key: string): void {
    const slot = this.#find(key);
    if (slot >= 0) this.#states[slot] = HELD;
  }

  unclaimed(): string[] {
    const keys: string[] = [];
    for (const [slot, state] of this.#states.entries()) {
      if (state === UNCLAIMED) keys.push(textOf(this.#keys, slot * this.#keyWords, this.#keyWords));
    }
    return keys;
  }

  *entries(): Generator<readonly [string, string]> {
    for (const [slot, state] of this.#states.entries()) {
      if (state < HELD) continue;
      const key = textOf(this.#keys, slot * this.#keyWords, this.#keyWords);
      yield [key, textOf(this.#data, slot * this.#dataWords, this.#dataWords)];
    }
  }

  #begin(key: string, data: string): void {
    this.#keyWords = key.length / HEX_PER_WORD;
    this.#dataWords = data.length / HEX_PER_WORD;
    assert(Number.isInteger(this.#keyWords) && this.#keyWords > 0, `no key of words: "${key}"`);
    assert(Number.isInteger(this.#dataWords), `no data of words: "${data}"`);
    this.#key = new Uint32Array(this.#keyWords);
    this.#allocate(SLOTS_MIN);
  }

  #allocate(slots: number): void {
    this.#keys = new Uint32Array(slots * this.#keyWords);
    this.#data = new Uint32Array(slots * this.#dataWords);
    this.#states = new Uint8Array(slots);
  }

  /** The slot of the key, or -1; `#key` holds its words afterwards. */
  #find(key: string): number {
    if (this.#states.length === 0) return -1;
    assert(key.length === this.#keyWords * HEX_PER_WORD, `a key of another width: ${key}`);
    readWords(key, this.#key, 0);
    const mask = this.#states.length - 1;
    for (let slot = this.#home(); ; slot = (slot + 1) & mask) {
      if (this.#states[slot] === EMPTY) return -1;
      if (this.#states[slot] !== DELETED && this.#isAt(slot)) return slot;
    }
  }

  /** Where `#key`, which is not there, shall go. */
  #place(): number {
    const mask = this.#states.length - 1;
    let slot = this.#home();
    while (this.#states[slot]! >= HELD) slot = (slot + 1) & mask;
    return slot;
  }

  #isAt(slot: number): boolean {
    const at = slot * this.#keyWords;
    for (let word = 0; word < this.#keyWords; word += 1) {
      if (this.#keys[at + word] !== this.#key[word]) return false;
    }
    return true;
  }

  /** The first slot to look in for `#key`. */
  #home(): number {
    let hash = 0;
    for (const word of this.#key) {
      hash = Math.imul(hash ^ word, 0x9e3779b1);
      hash ^= hash >>> 15;
    }
    return (hash >>> 0) & (this.#states.length - 1);
  }

  #grow(): void {
    const keys = this.#keys;
    const data = this.#data;
    const states = this.#states;
    const wanted = this.#key;
    const roomy = this.#size * 2 < states.length;
    this.#allocate(roomy ? states.length : states.length * 2);
    this.#used = this.#size;
    this.#key = new Uint32Array(this.#keyWords);
    for (let from = 0; from < states.length; from += 1) {
      if (states[from]! < HELD) continue;
      const keyAt = from * this.#keyWords;
      const dataAt = from * this.#dataWords;
      this.#key.set(keys.subarray(keyAt, keyAt + this.#keyWords));
      const slot = this.#place();
      this.#states[slot] = states[from]!;
      this.#keys.set(this.#key, slot * this.#keyWords);
      this.#data.set(data.subarray(dataAt, dataAt + this.#dataWords), slot * this.#dataWords);
    }
    this.#key = wanted;
  }
}

/** Hex text to words, from word `at` on. */
function readWords(text: string, words: Uint32Array, at: number): void {
  let word = at;
  for (let start = 0; start < text.length; start += HEX_PER_WORD) {
    let value = 0;
    for (let digit = start; digit < start + HEX_PER_WORD; digit += 1) {
      const code = text.charCodeAt(digit);
      // '0'-'9' are 48-57, 'a'-'f' 97-102.
      value = (value << 4) | (code < 58 ? code - 48 : code - 87);
    }
    words[word] = value;
    word += 1;
  }
}

/** Words to hex text: the reverse of `readWords`. */
function textOf(words: Uint32Array, at: number, count: number): string {
  let text = '';
  for (let word = at; word < at + count; word += 1) {
    text += words[word]!.toString(16).padStart(HEX_PER_WORD, '0');
  }
  return text;
}
