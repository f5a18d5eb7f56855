/** Which objects a list or watch is about, and what a change means to a watcher (A71-A74, A83). */
import type { KubeObject } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import {
  matchesFields,
  matchesLabels,
  parseFieldSelector,
  parseLabelSelector,
} from '../api/selectors.ts';
import type { Change, Stored } from '../store/store.ts';

export type SelectorText = {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
};

export type Selection = {
  readonly namespace?: string;
  /** Set when the field selector pins one name, so that the store need not look at others. */
  readonly name?: string;
  /** Undefined: everything in the namespace. */
  readonly matches: ((object: KubeObject) => boolean) | undefined;
};

export function parseSelection(resource: Resource, text: SelectorText): Selection {
  const labels = text.labelSelector ? parseLabelSelector(text.labelSelector) : [];
  const fields = text.fieldSelector ? parseFieldSelector(resource, text.fieldSelector) : [];
  const name = fields.find(({ field, equals }) => field === 'metadata.name' && equals)?.value;
  const none = labels.length === 0 && fields.length === 0;
  return {
    ...(text.namespace ? { namespace: text.namespace } : {}),
    ...(name === undefined ? {} : { name }),
    matches: none
      ? undefined
      : (object) => matchesLabels(labels, object.metadata.labels) && matchesFields(fields, object),
  };
}

export function select(stored: readonly Stored[], { matches }: Selection): Stored[] {
  return stored.filter(({ object }) => matches === undefined || matches(object));
}

/** A watch event before it is encoded. `version` differs from the object's where it left the selection. */
export type SelectedChange = {
  readonly type: Change['type'];
  readonly stored: Stored;
  /** The version to show in place of the object's own. */
  readonly version: number;
};

/** A83: an object that starts to match was added, one that stops to match was deleted. */
export function translate(change: Change, { matches }: Selection): SelectedChange | undefined {
  const { type, stored, previous } = change;
  const version = stored.revision;
  if (matches === undefined) return { type, stored, version };
  const did = previous !== undefined && matches(previous.object);
  if (type === 'DELETED') return did ? { type, stored, version } : undefined;
  const does = matches(stored.object);
  if (does) return { type: did ? 'MODIFIED' : 'ADDED', stored, version };
  return did ? { type: 'DELETED', stored: previous, version } : undefined;
}
