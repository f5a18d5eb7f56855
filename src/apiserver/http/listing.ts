/** Lists: selection, versions, pages (A26, A29, A71-A79). */
import { type Resource, apiVersionOf } from '../../api/resources.ts';
import { failure } from '../../api/status.ts';
import { invalid } from '../../api/validation/index.ts';
import type { Stored } from '../../store/store.ts';
import type { ApiContext } from '../context.ts';
import { badRequest } from '../refusals.ts';
import { type Selection, parseSelection, select } from '../selection.ts';
import type { Exchange } from './exchange.ts';
import type { Form } from './negotiate.ts';
import { notAcceptable } from './negotiate.ts';
import { type ListMeta, includeObjectOf, metadataOnly, tableOf } from './objects.ts';
import { send, sendValue } from './respond.ts';
import type { Target } from './target.ts';
import { requireRevision } from './versions.ts';

/** The selection of a list or watch URL; a name in it must agree with the field selector (A74). */
export function selectionOf(exchange: Exchange, target: Target): Selection {
  const { query } = exchange;
  return parseSelection(target.resource, {
    namespace: target.namespace,
    labelSelector: query.get('labelSelector') ?? undefined,
    fieldSelector: query.get('fieldSelector') ?? undefined,
  });
}

/** GET of a collection. */
export async function handleList(
  context: ApiContext,
  exchange: Exchange,
  target: Target,
  form: Form,
): Promise<void> {
  const { resource } = target;
  const selection = selectionOf(exchange, target);
  const { items, metadata } = await page(context, resource, selection, exchange.query);
  if (form.as === 'PartialObjectMetadata') throw notAcceptable('application/json');
  if (form.as === 'Table') {
    const objects = items.map(({ object }) => object);
    const include = includeObjectOf(exchange.query);
    const now = context.clock.now();
    const table = tableOf(resource, objects, { version: form.version, metadata, include, now });
    return sendValue(exchange, table, { form });
  }
  if (form.as === 'PartialObjectMetadataList') {
    const rows = items.map(({ object }) => metadataOnly(object, form.version));
    const apiVersion = `meta.k8s.io/${form.version}`;
    const list = { kind: 'PartialObjectMetadataList', apiVersion, metadata, items: rows };
    return sendValue(exchange, list, { form });
  }
  if (form.encoding === 'yaml') {
    const objects = items.map(({ object }) => object);
    return sendValue(exchange, { ...listHead(resource), metadata, items: objects }, { form });
  }
  const bytes = encodeList(resource, items, metadata);
  return send(exchange, { code: 200, bytes, contentType: 'application/json' });
}

function listHead(resource: Resource): { kind: string; apiVersion: string } {
  return { kind: `${resource.kind}List`, apiVersion: apiVersionOf(resource) };
}

/** The items' own bytes with commas between them: nothing is encoded again. */
export function encodeList(
  resource: Resource,
  items: readonly Stored[],
  metadata: ListMeta,
): Uint8Array {
  const head = JSON.stringify({ ...listHead(resource), metadata });
  const parts: Uint8Array[] = [Buffer.from(`${head.slice(0, -1)},"items":[`)];
  for (const [index, { bytes }] of items.entries()) {
    if (index > 0) parts.push(COMMA);
    parts.push(bytes);
  }
  parts.push(END);
  return Buffer.concat(parts);
}

const COMMA = Buffer.from(',');
const END = Buffer.from(']}\n');

type Token = { readonly rv: number; readonly start: string };

async function page(
  context: ApiContext,
  resource: Resource,
  selection: Selection,
  query: URLSearchParams,
): Promise<{ items: Stored[]; metadata: ListMeta }> {
  const token = decodeToken(query.get('continue'));
  const limit = Math.max(0, Number(query.get('limit') ?? 0) || 0);
  const exact = await checkVersion(context, resource, query);
  const revision = token?.rv ?? exact ?? context.store.revision;
  const all = snapshot(context, resource, selection, revision, token);
  const matching = select(all, selection);
  const rest = token === undefined ? matching : after(matching, token.start);
  if (limit === 0 || rest.length <= limit) {
    return { items: rest, metadata: { resourceVersion: String(revision) } };
  }
  const items = rest.slice(0, limit);
  const last = items.at(-1)!;
  const next: Token = { rv: revision, start: positionOf(last) };
  const metadata: ListMeta = {
    resourceVersion: String(revision),
    continue: Buffer.from(JSON.stringify(next)).toString('base64url'),
    // With a selector the server would have to look at everything to know (A75).
    ...(selection.matches === undefined ? { remainingItemCount: rest.length - limit } : {}),
  };
  return { items, metadata };
}

function snapshot(
  context: ApiContext,
  resource: Resource,
  { namespace }: Selection,
  revision: number,
  token: Token | undefined,
): Stored[] {
  const { store } = context;
  if (revision === store.revision) return store.list(resource, namespace);
  try {
    return store.listAt(resource, revision, namespace);
  } catch (error) {
    if (token === undefined) throw error;
    // A fresh token goes on where the old one stopped, at today's version.
    const fresh: Token = { rv: store.revision, start: token.start };
    const refusal = failure(
      410,
      'Expired',
      'The provided continue parameter is too old to display a consistent list result. You can start a new list without the continue parameter, or use the continue token in this response to retrieve the remainder of the results.',
    );
    refusal.status.metadata.continue = Buffer.from(JSON.stringify(fresh)).toString('base64url');
    throw refusal;
  }
}

function positionOf({ namespace, name }: Stored): string {
  return namespace === '' ? name : `${namespace}/${name}`;
}

function after(items: readonly Stored[], position: string): Stored[] {
  return items.filter((item) => positionOf(item) > position);
}

function decodeToken(text: string | null): Token | undefined {
  if (text === null || text === '') return undefined;
  try {
    const token: unknown = JSON.parse(Buffer.from(text, 'base64url').toString());
    if (isToken(token)) return token;
  } catch (error) {
    if (!(error instanceof SyntaxError)) throw error;
  }
  throw badRequest('continue key is not valid: malformed token');
}

function isToken(value: unknown): value is Token {
  if (typeof value !== 'object' || value === null) return false;
  const { rv, start } = value as Record<string, unknown>;
  return Number.isSafeInteger(rv) && typeof start === 'string';
}

/** The rules of resourceVersion and resourceVersionMatch (A76, A77); the version when it is exact. */
async function checkVersion(
  context: ApiContext,
  resource: Resource,
  query: URLSearchParams,
): Promise<number | undefined> {
  const match = query.get('resourceVersionMatch') ?? '';
  const text = query.get('resourceVersion') ?? '';
  const refuse = (field: string, detail: string) =>
    invalid({ ...resource, kind: 'ListOptions', group: 'meta.k8s.io' }, '', [
      { type: 'Forbidden', field, detail },
    ]);
  if (query.has('sendInitialEvents')) {
    throw refuse('sendInitialEvents', 'sendInitialEvents is forbidden for list');
  }
  if (match !== '') {
    if (text === '') {
      throw refuse(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden unless resourceVersion is provided',
      );
    }
    if (query.get('continue')) {
      throw refuse(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden when continue is provided',
      );
    }
    if (match !== 'Exact' && match !== 'NotOlderThan') {
      throw refuse('resourceVersionMatch', `unsupported value "${match}"`);
    }
    if (match === 'Exact' && text === '0') {
      throw refuse(
        'resourceVersionMatch',
        'resourceVersionMatch "exact" is forbidden for resourceVersion "0"',
      );
    }
  }
  if (text === '' || text === '0') return undefined;
  if (query.get('continue')) {
    throw badRequest('specifying resource version is not allowed when using continue');
  }
  const revision = await requireRevision(context, text);
  return match === 'Exact' ? revision : undefined;
}
