/** Stored objects in the form the client asked for: whole, as table rows, or their metadata. */
import type { KubeObject } from '../../api/meta.ts';
import type { Resource } from '../../api/resources.ts';
import { tableFor } from '../../api/tables.ts';
import type { Stored } from '../../store/store.ts';
import { badRequest } from '../refusals.ts';
import type { Exchange } from './exchange.ts';
import { type Form, notAcceptable } from './negotiate.ts';
import { send, sendValue } from './respond.ts';

export type ListMeta = {
  resourceVersion?: string;
  continue?: string;
  remainingItemCount?: number;
};

export type IncludeObject = 'Metadata' | 'Object' | 'None';

/** The `includeObject` query parameter (A26). */
export function includeObjectOf(query: URLSearchParams): IncludeObject {
  const value = query.get('includeObject') ?? 'Metadata';
  if (value === '') return 'Metadata';
  if (value === 'Metadata' || value === 'Object' || value === 'None') return value;
  throw badRequest(`unrecognized includeObject value: "${value}"`);
}

/** A Table of the objects (A25-A27). */
export function tableOf(
  resource: Resource,
  objects: readonly KubeObject[],
  options: {
    readonly version: Form['version'];
    readonly metadata: ListMeta;
    readonly include: IncludeObject;
    readonly now: number;
  },
): object {
  const { columnDefinitions, rows } = tableFor(resource, objects, { now: options.now });
  return {
    kind: 'Table',
    apiVersion: `meta.k8s.io/${options.version}`,
    metadata: options.metadata,
    columnDefinitions,
    rows: rows.map((row, index) => ({
      ...row,
      ...rowObject(objects[index]!, options.include, options.version),
    })),
  };
}

function rowObject(object: KubeObject, include: IncludeObject, version: Form['version']): object {
  if (include === 'None') return {};
  return { object: include === 'Object' ? object : metadataOnly(object, version) };
}

export function metadataOnly({ metadata }: KubeObject, version: Form['version']): KubeObject {
  return { kind: 'PartialObjectMetadata', apiVersion: `meta.k8s.io/${version}`, metadata };
}

/** Sends one object. */
export async function sendObject(
  exchange: Exchange,
  resource: Resource,
  stored: Pick<Stored, 'object' | 'bytes'>,
  options: { readonly form: Form; readonly code?: number; readonly now: number },
): Promise<void> {
  const { form, code = 200, now } = options;
  const { object, bytes } = stored;
  if (form.as === 'Table') {
    const metadata = { resourceVersion: object.metadata.resourceVersion ?? '' };
    const include = includeObjectOf(exchange.query);
    const table = tableOf(resource, [object], { version: form.version, metadata, include, now });
    return sendValue(exchange, table, { code, form });
  }
  if (form.as === 'PartialObjectMetadata') {
    return sendValue(exchange, metadataOnly(object, form.version), { code, form });
  }
  if (form.as === 'PartialObjectMetadataList') throw notAcceptable('application/json');
  if (form.encoding === 'yaml') return sendValue(exchange, object, { code, form });
  return send(exchange, { code, bytes, contentType: 'application/json' });
}
