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

const none: ReadonlySet<never> = new Set();

/** An endpoint found by its address. */
export type EndpointMatch = { readonly slice: SliceEntry; readonly endpoint: EndpointEntry };

export class ZoneData {
  readonly #services = new Map<string, ServiceEntry>();
  readonly #servicesByAddress = new Map<string, ServiceEntry>();
  readonly #slices = new Map<string, SliceEntry>();
  readonly #slicesByService = new Map<string, Set<SliceEntry>>();
  readonly #slicesByAddress = new Map<string, Set<SliceEntry>>();
  readonly #namespaces = new Set<string>();
  /** Namespace of each pod by address; more than one where a host's network is shared. */
  readonly #podsByAddress = new Map<string, string[]>();
  readonly #now: () => number;
  #generation = 0;
  #serial = 0;

  /** `now` gives milliseconds since the epoch. */
  constructor(now: () => number) {
    this.#now = now;
  }

  /** Grows with every change that an answer can show: what was built before is out of date. */
  get generation(): number {
    return this.#generation;
  }

  /** Unix seconds of the last change of a record, 0 before any (D33, D95). */
  get serial(): number {
    return this.#serial;
  }

  service(namespace: string, name: string): ServiceEntry | undefined {
    return this.#services.get(keyOf(namespace, name));
  }

  serviceAt(address: string): ServiceEntry | undefined {
    return this.#servicesByAddress.get(address);
  }

  slicesOf(service: ServiceEntry): ReadonlySet<SliceEntry> {
    return this.#slicesByService.get(keyOf(service.namespace, service.name)) ?? none;
  }

  /** Every ready endpoint with this address. */
  endpointsAt(address: string): EndpointMatch[] {
    const found: EndpointMatch[] = [];
    for (const slice of this.#slicesByAddress.get(address) ?? none) {
      for (const endpoint of slice.endpoints) {
        if (endpoint.address?.text === address) found.push({ slice, endpoint });
      }
    }
    return found;
  }

  hasNamespace(name: string): boolean {
    return this.#namespaces.has(name);
  }

  hasPod(namespace: string, address: string): boolean {
    return this.#podsByAddress.get(address)?.includes(namespace) ?? false;
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
    this.#generation += 1;
  }

  /** A pod's address came (`present`) or went. */
  setPod(namespace: string, address: string, present: boolean): void {
    const namespaces = this.#podsByAddress.get(address) ?? [];
    const at = namespaces.indexOf(namespace);
    if (present) this.#podsByAddress.set(address, [...namespaces, namespace]);
    else if (namespaces.length > 1) this.#podsByAddress.set(address, namespaces.toSpliced(at, 1));
    else this.#podsByAddress.delete(address);
    this.#changed();
  }

  #changed(): void {
    this.#generation += 1;
    this.#serial = Math.floor(this.#now() / 1000);
  }
}

function addressesOf(slice: SliceEntry): Address[] {
  return slice.endpoints.map(({ address }) => address).filter((address) => address !== undefined);
}

function addTo<T>(map: Map<string, Set<T>>, key: string, item: T): void {
  const items = map.get(key);
  if (items === undefined) map.set(key, new Set([item]));
  else items.add(item);
}

function removeFrom<T>(map: Map<string, Set<T>>, key: string, item: T): void {
  const items = map.get(key);
  items?.delete(item);
  if (items?.size === 0) map.delete(key);
}
