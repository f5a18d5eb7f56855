/**
 * Spreads wanted endpoints over EndpointSlices with few writes: an endpoint stays in the slice it is
 * in, new ones fill slices that change anyway, and an untouched slice is touched last.
 */
import type { ObjectMeta } from '../api/meta.ts';
import type { Endpoint, EndpointPort, EndpointSlice } from '../api/types.ts';
import { isDeepStrictEqual } from 'node:util';

export type AddressType = 'IPv4' | 'IPv6' | 'FQDN';

/** Endpoints that share one list of ports. */
export type EndpointGroup = {
  readonly addressType: AddressType;
  readonly ports: readonly EndpointPort[];
  readonly endpoints: readonly Endpoint[];
};

/** What each slice of the set carries besides its endpoints. */
export type SliceFrame = {
  readonly namespace: string;
  readonly generateName: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly ownerReferences: NonNullable<ObjectMeta['ownerReferences']>;
  /** Annotations that are written with a change but are no reason for one. */
  readonly changeAnnotations: Readonly<Record<string, string>>;
  /** Annotations kept equal. */
  readonly annotations: Readonly<Record<string, string>>;
  readonly endpointsMax: number;
};

export type SliceChanges = {
  readonly create: EndpointSlice[];
  readonly update: EndpointSlice[];
  readonly remove: EndpointSlice[];
};

type Draft = {
  slice: EndpointSlice | undefined;
  group: EndpointGroup;
  endpoints: Endpoint[];
  changed: boolean;
};

/** What must be written so that the existing slices carry exactly the wanted groups. */
export function planSlices(
  frame: SliceFrame,
  groups: readonly EndpointGroup[],
  existing: readonly EndpointSlice[],
): SliceChanges {
  const left = new Set(existing);
  const drafts = groups.flatMap((group) => {
    const id = groupId(group);
    const alike = [...left].filter((slice) => groupId(slice) === id);
    // A family without endpoints keeps one slice with neither endpoints nor ports (K29).
    const own = group.endpoints.length === 0 ? alike.slice(0, 1) : alike;
    for (const slice of own) left.delete(slice);
    return draftGroup(group, own, frame.endpointsMax);
  });
  const create: Draft[] = [];
  const update: EndpointSlice[] = [];
  const spare = [...left];
  for (const draft of drafts) {
    if (
      draft.slice !== undefined &&
      draft.endpoints.length < Math.min(1, draft.group.endpoints.length)
    ) {
      spare.push(draft.slice);
    } else if (draft.slice === undefined) {
      create.push(draft);
    } else if (draft.changed || !frameHolds(frame, draft.slice)) {
      update.push(written(frame, draft, draft.slice));
    }
  }
  // A slice that has to go becomes one that has to come: one write, and never a moment without.
  const made: EndpointSlice[] = [];
  for (const draft of create) {
    const at = spare.findIndex((slice) => slice.addressType === draft.group.addressType);
    const [reused] = at < 0 ? [] : spare.splice(at, 1);
    if (reused === undefined) made.push(written(frame, draft, undefined));
    else update.push(written(frame, draft, reused));
  }
  return { create: made, update, remove: spare };
}

function draftGroup(group: EndpointGroup, slices: EndpointSlice[], max: number): Draft[] {
  const pending = new Map(group.endpoints.map((endpoint) => [endpointId(endpoint), endpoint]));
  const drafts = slices.map((slice) => keepEndpoints(slice, { group, pending, max }));
  if (group.endpoints.length === 0 && drafts.length === 0) {
    return [{ slice: undefined, group, endpoints: [], changed: true }];
  }
  place([...pending.values()], { drafts, group, max });
  return drafts;
}

function keepEndpoints(
  slice: EndpointSlice,
  { group, pending, max }: { group: EndpointGroup; pending: Map<string, Endpoint>; max: number },
): Draft {
  const endpoints: Endpoint[] = [];
  let changed = false;
  for (const old of slice.endpoints ?? []) {
    const id = endpointId(old);
    const wanted = pending.get(id);
    if (wanted === undefined || endpoints.length >= max) {
      changed = true;
      continue;
    }
    pending.delete(id);
    if (isSame(old, wanted)) {
      endpoints.push(old);
    } else {
      endpoints.push(wanted);
      changed = true;
    }
  }
  return { slice, group, endpoints, changed };
}

/** Objects never change, so that what was compared once need not be compared again. */
const sameAs = new WeakMap<Endpoint, Endpoint>();

function isSame(old: Endpoint, wanted: Endpoint): boolean {
  if (sameAs.get(old) === wanted) return true;
  if (!isDeepStrictEqual(old, wanted)) return false;
  sameAs.set(old, wanted);
  return true;
}

function place(
  pending: Endpoint[],
  { drafts, group, max }: { drafts: Draft[]; group: EndpointGroup; max: number },
): void {
  for (const draft of drafts) {
    if (draft.changed) draft.endpoints.push(...pending.splice(0, max - draft.endpoints.length));
  }
  if (pending.length === 0) return;
  // The fullest untouched slice that takes the whole rest.
  const roomy = drafts
    .filter(
      (d) => !d.changed && d.endpoints.length > 0 && d.endpoints.length + pending.length <= max,
    )
    .sort((a, b) => b.endpoints.length - a.endpoints.length)[0];
  if (roomy !== undefined) {
    roomy.endpoints.push(...pending.splice(0));
    roomy.changed = true;
  }
  while (pending.length > 0) {
    drafts.push({ slice: undefined, group, endpoints: pending.splice(0, max), changed: true });
  }
}

/** The same pod, or for endpoints made by hand the same address, is the same endpoint. */
function endpointId(endpoint: Endpoint): string {
  return `${endpoint.targetRef?.uid ?? ''} ${endpoint.addresses.join(' ')}`;
}

function groupId(group: { addressType: string; ports?: readonly EndpointPort[] }): string {
  const ports = (group.ports ?? []).map((port) =>
    [port.name ?? '', port.protocol ?? 'TCP', port.port ?? '', port.appProtocol ?? ''].join('/'),
  );
  return `${group.addressType} ${ports.sort().join(' ')}`;
}

function frameHolds(frame: SliceFrame, slice: EndpointSlice): boolean {
  const { labels, annotations = {}, ownerReferences } = slice.metadata;
  const kept = Object.fromEntries(
    Object.entries(annotations).filter(([key]) => !(key in frame.changeAnnotations)),
  );
  return (
    isDeepStrictEqual({ ...labels }, frame.labels) &&
    isDeepStrictEqual(kept, frame.annotations) &&
    isDeepStrictEqual(ownerReferences, frame.ownerReferences)
  );
}

function written(frame: SliceFrame, draft: Draft, old: EndpointSlice | undefined): EndpointSlice {
  const annotations = { ...frame.annotations, ...frame.changeAnnotations };
  const metadata: ObjectMeta = {
    ...(old?.metadata ?? {
      name: '',
      generateName: frame.generateName,
      namespace: frame.namespace,
    }),
    labels: { ...frame.labels },
    ownerReferences: [...frame.ownerReferences],
    annotations,
  };
  if (Object.keys(annotations).length === 0) delete metadata.annotations;
  return {
    apiVersion: 'discovery.k8s.io/v1',
    kind: 'EndpointSlice',
    metadata,
    addressType: draft.group.addressType,
    endpoints: draft.endpoints,
    ports: [...draft.group.ports],
  };
}
