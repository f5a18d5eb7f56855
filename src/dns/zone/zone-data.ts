/**
 * The cluster as DNS sees it, kept by name and by address, changed one object at a time: a change
 * costs the same whatever the number of Services.
 */
import { isDeepStrictEqual } from 'node:util';

import type { Address, EndpointEntry, ServiceEntry, SliceEntry } from './objects.ts';

/** `namespace/name`. */
function keyOf(namespace: string, name: string): string {
  return `${namespace}/${name}`;
}

const none: readonly never[] = [];

/** One item as it is, more as a list: nearly all places have one, and there are as many as objects. */
type Index<T> = Map<string, T | readonly T[]>;

/** Who is told what changed, so that answers made from it are not given again. */
export type ChangeListener = {
  /** What was read at this place of `places` is out of date. */
  outdate(place: number): void;
  serial(seconds: number): void;
};

/** What is read falls on so many places; what falls on the same is out of date together. */
export const places = 1 << 14;

/** FNV-1a. The kinds: a Service with its slices, an address, a namespace, a pod's address. */
function placeOf(kind: 's' | 'a' | 'n' | 'p', key: string): number {
  let hash = 0x811c_9dc5 ^ kind.charCodeAt(0);
  for (let at = 0; at < key.length; at += 1) {
    hash = Math.imul(hash ^ key.charCodeAt(at), 0x0100_0193);
  }
  return (hash ^ (hash >>> 15)) & (places - 1);
}

/** An endpoint found by its address. */
export type EndpointMatch = { readonly slice: SliceEntry; readonly endpoint: EndpointEntry };

export class ZoneData {
  readonly #services = new Map<string, ServiceEntry>();
  readonly #servicesByAddress = new Map<string, ServiceEntry>();
  readonly #slices = new Map<string, SliceEntry>();
  readonly #slicesByService: Index<SliceEntry> = new Map();
  readonly #slicesByAddress: Index<SliceEntry> = new Map();
  readonly #namespaces = new Set<string>();
  /** Namespace of each pod by address; more than one where a host's network is shared. */
  readonly #podsByAddress = new Map<string, string[]>();
  readonly #now: () => number;
  #listener: ChangeListener | undefined;
  #serial = 0;
  #reads: number[] | undefined = [];

  /** `now` gives milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** From now on this one is told of changes. */
  tell(listener: ChangeListener): void {
    this.#listener = listener;
    listener.serial(this.#serial);
  }

  /** Begins to note what is read. */
  noteReads(): void {
    this.#reads = [];
  }

  /** The places read since `noteReads`, each once; undefined after `noteOther`. */
  get reads(): readonly number[] | undefined {
    return this.#reads;
  }

  /** Something was read that is not in this data: nobody tells when it changes. */
  noteOther(): void {
    this.#reads = undefined;
  }

  #read(kind: 's' | 'a' | 'n' | 'p', key: string): void {
    const place = placeOf(kind, key);
    if (this.#reads?.includes(place) === false) this.#reads.push(place);
  }

  #outdate(kind: 's' | 'a' | 'n' | 'p', key: string): void {
    this.#listener?.outdate(placeOf(kind, key));
  }

  /** Unix seconds of the last change of a record, 0 before any (D33, D95). */
  get serial(): number {
    return this.#serial;
  }

  service(namespace: string, name: string): ServiceEntry | undefined {
    const key = keyOf(namespace, name);
    this.#read('s', key);
    return this.#services.get(key);
  }

  serviceAt(address: string): ServiceEntry | undefined {
    this.#read('a', address);
    return this.#servicesByAddress.get(address);
  }

  slicesOf(service: ServiceEntry): readonly SliceEntry[] {
    const key = keyOf(service.namespace, service.name);
    this.#read('s', key);
    return listAt(this.#slicesByService, key);
  }

  /** Every ready endpoint with this address. */
  endpointsAt(address: string): EndpointMatch[] {
    const found: EndpointMatch[] = [];
    this.#read('a', address);
    for (const slice of listAt(this.#slicesByAddress, address)) {
      for (const endpoint of slice.endpoints) {
        if (endpoint.address?.text === address) found.push({ slice, endpoint });
      }
    }
    return found;
  }

  hasNamespace(name: string): boolean {
    this.#read('n', name);
    return this.#namespaces.has(name);
  }

  hasPod(namespace: string, address: string): boolean {
    this.#read('p', address);
    return this.#podsByAddress.get(address)?.includes(namespace) ?? false;
  }

  /** The namespace of a pod with this address, where the pods are known. */
  namespaceAt(address: string): string | undefined {
    return this.#podsByAddress.get(address)?.[0];
  }

  /** Every Service, in no order. */
  services(): Iterable<ServiceEntry> {
    return this.#services.values();
  }

  get counts(): { services: number; slices: number; namespaces: number } {
    return {
      services: this.#services.size,
      slices: this.#slices.size,
      namespaces: this.#namespaces.size,
    };
  }

  /** Takes in a Service; `undefined` deletes it. */
  setService(namespace: string, name: string, entry: ServiceEntry | undefined): void {
    const key = keyOf(namespace, name);
    const old = this.#services.get(key);
    if (isDeepStrictEqual(old, entry)) return;
    for (const { text } of old?.addresses ?? []) {
      if (this.#servicesByAddress.get(text) === old) this.#servicesByAddress.delete(text);
    }
    if (entry === undefined) this.#services.delete(key);
    else this.#services.set(key, entry);
    for (const { text } of entry?.addresses ?? []) this.#servicesByAddress.set(text, entry!);
    this.#outdate('s', key);
    for (const { addresses } of [old, entry].filter((one) => one !== undefined)) {
      for (const { text } of addresses) this.#outdate('a', text);
    }
    this.#changed();
  }

  /** Takes in a slice; `undefined` deletes it. */
  setSlice(namespace: string, name: string, entry: SliceEntry | undefined): void {
    const key = keyOf(namespace, name);
    const old = this.#slices.get(key);
    if (isDeepStrictEqual(old, entry)) return;
    if (old !== undefined) this.#unlinkSlice(old);
    if (entry === undefined) {
      this.#slices.delete(key);
    } else {
      this.#slices.set(key, entry);
      addTo(this.#slicesByService, keyOf(entry.namespace, entry.service), entry);
      for (const { text } of addressesOf(entry)) addTo(this.#slicesByAddress, text, entry);
    }
    for (const slice of [old, entry].filter((one) => one !== undefined)) {
      this.#outdate('s', keyOf(slice.namespace, slice.service));
      for (const { text } of addressesOf(slice)) this.#outdate('a', text);
    }
    this.#changed();
  }

  #unlinkSlice(slice: SliceEntry): void {
    removeFrom(this.#slicesByService, keyOf(slice.namespace, slice.service), slice);
    for (const { text } of addressesOf(slice)) removeFrom(this.#slicesByAddress, text, slice);
  }

  /** A namespace changes answers but no record, hence not the serial (D95). */
  setNamespace(name: string, exists: boolean): void {
    if (exists === this.#namespaces.has(name)) return;
    if (exists) this.#namespaces.add(name);
    else this.#namespaces.delete(name);
    this.#outdate('n', name);
  }

  /** A pod's address came (`present`) or went. */
  setPod(namespace: string, address: string, present: boolean): void {
    const namespaces = this.#podsByAddress.get(address) ?? [];
    const at = namespaces.indexOf(namespace);
    if (present) this.#podsByAddress.set(address, [...namespaces, namespace]);
    else if (namespaces.length > 1) this.#podsByAddress.set(address, namespaces.toSpliced(at, 1));
    else this.#podsByAddress.delete(address);
    this.#outdate('p', address);
    this.#changed();
  }

  #changed(): void {
    this.#serial = Math.floor(this.#now() / 1000);
    this.#listener?.serial(this.#serial);
  }
}

function addressesOf(slice: SliceEntry): Address[] {
  return slice.endpoints.map(({ address }) => address).filter((address) => address !== undefined);
}

function listAt<T extends object>(index: Index<T>, key: string): readonly T[] {
  const found = index.get(key);
  if (found === undefined) return none;
  return isList(found) ? found : [found];
}

function isList<T extends object>(items: T | readonly T[]): items is readonly T[] {
  return Array.isArray(items);
}

function addTo<T extends object>(index: Index<T>, key: string, item: T): void {
  const items = listAt(index, key);
  if (items.includes(item)) return;
  index.set(key, items.length === 0 ? item : [...items, item]);
}

function removeFrom<T extends object>(index: Index<T>, key: string, item: T): void {
  const items = listAt(index, key).filter((other) => other !== item);
  if (items.length === 0) index.delete(key);
  else index.set(key, items.length === 1 ? items[0]! : items);
}
