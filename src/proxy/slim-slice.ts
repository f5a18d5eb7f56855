/**
 * Slices as the proxy keeps them. In a large cluster they are most of what a proxy would remember: a
 * quarter of a million endpoints are 180 MB as they come, 30 MB without what no plan looks at, and
 * 5 MB packed into one text per slice, which is unpacked when its Service is planned.
 */
import type { Endpoint, EndpointSlice } from '../api/types.ts';
import { HEADLESS_LABEL, PROXY_NAME_LABEL, SERVICE_NAME_LABEL } from '../plan/service.ts';

/** When the pods changed that a slice tells of: for the latency of the whole way. */
const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';
const LABELS = [SERVICE_NAME_LABEL, PROXY_NAME_LABEL, HEADLESS_LABEL];

/** Drops what is of no use on this node; the names of other nodes too. */
export function slimSlice(slice: EndpointSlice, nodeName: string): EndpointSlice {
  if (slice instanceof PackedSlice) return slice;
  const slim = { ...slice, metadata: slimMetadata(slice.metadata) };
  // Half-formed objects have none (P9).
  if (!Array.isArray(slice.endpoints)) return slim;
  const packed = pack(slice.endpoints, nodeName);
  return packed === undefined ? slim : new PackedSlice(slim, packed, nodeName);
}

class PackedSlice implements EndpointSlice {
  readonly metadata: EndpointSlice['metadata'];
  readonly addressType: EndpointSlice['addressType'];
  readonly ports?: NonNullable<EndpointSlice['ports']>;
  readonly #packed: string;
  readonly #nodeName: string;

  constructor(slice: EndpointSlice, packed: string, nodeName: string) {
    this.metadata = slice.metadata;
    this.addressType = slice.addressType;
    if (slice.ports !== undefined) this.ports = slice.ports;
    this.#packed = packed;
    this.#nodeName = nodeName;
  }

  get endpoints(): Endpoint[] {
    const entries = JSON.parse(this.#packed) as Entry[];
    return entries.map(([address, conditions, hints, isLocal]) => ({
      addresses: [address],
      ...defined('conditions', CONDITIONS.values[conditions]),
      ...defined('hints', HINTS.values[hints]),
      ...(isLocal === 1 ? { nodeName: this.#nodeName } : {}),
    }));
  }
}

function slimMetadata(metadata: EndpointSlice['metadata']): EndpointSlice['metadata'] {
  const { name, namespace, uid, resourceVersion, labels, annotations } = metadata;
  return {
    name,
    ...defined('namespace', namespace),
    ...defined('uid', uid),
    ...defined('resourceVersion', resourceVersion),
    ...(labels ? { labels: pick(labels, LABELS) } : {}),
    ...(annotations ? { annotations: pick(annotations, [TRIGGER_TIME]) } : {}),
  };
}

/** Address, number of its conditions, number of its hints, 1 when it is on this node. */
type Entry = [string, number, number, 0 | 1];

/** Undefined when an endpoint is odd, as other writers may make them, and must be kept as it is. */
function pack(endpoints: readonly Endpoint[], nodeName: string): string | undefined {
  const entries: Entry[] = [];
  for (const endpoint of endpoints) {
    // Only the first address counts (P10).
    const address = endpoint?.addresses?.[0];
    if (typeof address !== 'string') return undefined;
    const conditions = CONDITIONS.numberOf(endpoint.conditions);
    const hints = HINTS.numberOf(endpoint.hints);
    if (conditions === undefined || hints === undefined) return undefined;
    entries.push([address, conditions, hints, endpoint.nodeName === nodeName ? 1 : 0]);
  }
  return JSON.stringify(entries);
}

/** Things that thousands of endpoints have alike, by number. */
class Shared<T> {
  readonly values: (T | undefined)[] = [];
  readonly #numbers = new Map<string, number>();
  readonly #max: number;

  constructor(max: number) {
    this.#max = max;
  }

  /** Undefined when there are too many different ones. */
  numberOf(value: T | undefined): number | undefined {
    const text = value === undefined ? '' : JSON.stringify(value);
    const known = this.#numbers.get(text);
    if (known !== undefined) return known;
    if (this.values.length >= this.#max) return undefined;
    this.values.push(value);
    this.#numbers.set(text, this.values.length - 1);
    return this.values.length - 1;
  }
}

/** Three flags, each set, cleared or not there. */
const CONDITIONS = new Shared<NonNullable<Endpoint['conditions']>>(100);
/** Sets of zones, or a node each. */
const HINTS = new Shared<NonNullable<Endpoint['hints']>>(10_000);

function defined<K extends string, V>(name: K, value: V | undefined): { [P in K]?: V } {
  return value === undefined ? {} : ({ [name]: value } as { [P in K]?: V });
}

function pick(from: Record<string, string>, names: readonly string[]): Record<string, string> {
  const found = names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]));
  return Object.fromEntries(found) as Record<string, string>;
}
