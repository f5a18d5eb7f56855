/** What a pod may read of itself: `fieldRef` and `resourceFieldRef` (K10, K13). */
import type { Container, Pod } from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';
import { divideQuantity } from './quantity.ts';

/** What the node knows of a pod beyond its object. */
export type PodFacts = {
  readonly nodeName: string;
  readonly hostIPs: readonly string[];
  readonly podIPs: readonly string[];
  /** Stands in for a limit the pod does not set. */
  readonly allocatable: Readonly<Record<string, string>>;
};

/** The text at a path such as `metadata.name` or `metadata.labels['app']`. */
export function fieldText(pod: Pod, fieldPath: string, facts: PodFacts): string {
  const { metadata, spec } = pod;
  const subscript = /^metadata\.(labels|annotations)\['([^']*)'\]$/.exec(fieldPath);
  if (subscript !== null) {
    const [, kind, key = ''] = subscript;
    return metadata[kind as 'labels' | 'annotations']?.[key] ?? '';
  }
  switch (fieldPath) {
    case 'metadata.name':
      return metadata.name;
    case 'metadata.namespace':
      return metadata.namespace ?? '';
    case 'metadata.uid':
      return metadata.uid ?? '';
    case 'metadata.labels':
      return formatMap(metadata.labels);
    case 'metadata.annotations':
      return formatMap(metadata.annotations);
    case 'spec.nodeName':
      return facts.nodeName;
    case 'spec.serviceAccountName':
      return spec.serviceAccountName ?? '';
    case 'status.hostIP':
      return facts.hostIPs[0] ?? '';
    case 'status.hostIPs':
      return facts.hostIPs.join(',');
    case 'status.podIP':
      return facts.podIPs[0] ?? '';
    case 'status.podIPs':
      return facts.podIPs.join(',');
    default:
      throw new UserError(
        'FIELD_PATH',
        `Cannot read field "${fieldPath}": a pod has no such field`,
      );
  }
}

/** The limit or request a container names, in units of `divisor`. */
export function resourceText(
  container: Container,
  ref: { readonly resource: string; readonly divisor?: string },
  facts: PodFacts,
): string {
  const [kind, name = ''] = splitOnce(ref.resource);
  const { limits = {}, requests = {} } = container.resources ?? {};
  // An absent limit reads as what the node can give; an absent request as nothing.
  const value = kind === 'limits' ? (limits[name] ?? facts.allocatable[name]) : requests[name];
  if (kind !== 'limits' && kind !== 'requests') {
    throw new UserError(
      'FIELD_PATH',
      `Cannot read resource "${ref.resource}": it starts with neither limits nor requests`,
    );
  }
  return String(divideQuantity(String(value ?? '0'), ref.divisor ?? '1'));
}

function splitOnce(text: string): [string, string?] {
  const dot = text.indexOf('.');
  return dot < 0 ? [text] : [text.slice(0, dot), text.slice(dot + 1)];
}

/** `key="value"` lines in key order, the value quoted as Go's `%q` does. */
function formatMap(map: Readonly<Record<string, string>> = {}): string {
  return Object.keys(map)
    .toSorted()
    .map((key) => `${key}=${JSON.stringify(map[key])}`)
    .join('\n');
}
