/**
 * Slices as the proxy keeps them: what no plan looks at is dropped as they arrive. In a large cluster
 * they are most of what a proxy remembers: a quarter of a million endpoints are 180 MB as they come.
 */
import type { Endpoint, EndpointSlice } from '../api/types.ts';
import { HEADLESS_LABEL, PROXY_NAME_LABEL, SERVICE_NAME_LABEL } from '../plan/service.ts';

/** When the pods changed that a slice tells of: for the latency of the whole way. */
const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';
const LABELS = [SERVICE_NAME_LABEL, PROXY_NAME_LABEL, HEADLESS_LABEL];

/** Drops what is of no use on this node; the names of other nodes too. */
export function slimSlice(slice: EndpointSlice, nodeName: string): EndpointSlice {
  const { metadata, addressType, endpoints, ports } = slice;
  const { name, namespace, uid, resourceVersion, labels, annotations } = metadata;
  return {
    metadata: {
      name,
      ...(namespace === undefined ? {} : { namespace }),
      ...(uid === undefined ? {} : { uid }),
      ...(resourceVersion === undefined ? {} : { resourceVersion }),
      ...(labels === undefined ? {} : { labels: pick(labels, LABELS) }),
      ...(annotations === undefined ? {} : { annotations: pick(annotations, [TRIGGER_TIME]) }),
    },
    addressType,
    ...(ports === undefined ? {} : { ports }),
    // Half-formed objects have none (P9).
    endpoints: endpoints?.map((endpoint) => slimEndpoint(endpoint, nodeName)),
  };
}

function slimEndpoint(endpoint: Endpoint, nodeName: string): Endpoint {
  const { addresses, conditions, hints } = endpoint;
  const isLocal = endpoint.nodeName === nodeName;
  return {
    addresses,
    ...(conditions ? { conditions: sharedConditions(conditions) } : {}),
    ...(isLocal ? { nodeName } : {}),
    ...(hints ? { hints: sharedHints(hints) } : {}),
  };
}

type Conditions = NonNullable<Endpoint['conditions']>;
type Hints = NonNullable<Endpoint['hints']>;

/** Some zones, or a node each. */
const HINTS_MAX = 1000;
const conditionsByText = new Map<string, Conditions>();
const hintsByText = new Map<string, Hints>();

/** One object for all endpoints in the same condition. */
function sharedConditions({ ready, serving, terminating }: Conditions): Conditions {
  const text = `${ready} ${serving} ${terminating}`;
  const known = conditionsByText.get(text);
  if (known !== undefined) return known;
  const kept = { ready, serving, terminating } as Conditions;
  // Only a handful of texts is made of flags; other writers may have put anything here.
  if (conditionsByText.size < 27) conditionsByText.set(text, kept);
  return kept;
}

function sharedHints(hints: Hints): Hints {
  const text = JSON.stringify(hints);
  const known = hintsByText.get(text);
  if (known !== undefined) return known;
  if (hintsByText.size < HINTS_MAX) hintsByText.set(text, hints);
  return hints;
}

function pick(from: Record<string, string>, names: readonly string[]): Record<string, string> {
  const found = names.flatMap((name) => (from[name] === undefined ? [] : [[name, from[name]]]));
  return Object.fromEntries(found) as Record<string, string>;
}
