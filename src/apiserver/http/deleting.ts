/** DELETE of one object or of a collection (A40-A42). */
import { type Decoded, decodeBody } from '../../api/decode.ts';
import { conform } from '../../api/fields.ts';
import type { Key } from '../../api/meta.ts';
import type { Resource } from '../../api/resources.ts';
import { isReason } from '../../api/status.ts';
import type { DeleteOptions } from '../../client/client.ts';
import type { Stored } from '../../store/store.ts';
import type { WriteOptions } from '../context.ts';
import { type DeleteOptionsBody, deleteOptionsOf } from '../delete-options.ts';
import { deleteObject } from '../deletion.ts';
import { badRequest, detailsOf } from '../refusals.ts';
import { select } from '../selection.ts';
import { type Exchange, readBody } from './exchange.ts';
import type { HttpContext } from './handler.ts';
import { encodeList, selectionOf } from './listing.ts';
import { negotiate } from './negotiate.ts';
import { sendObject } from './objects.ts';
import { send, sendValue } from './respond.ts';
import type { Target } from './target.ts';

type Options = DeleteOptions & WriteOptions;

export async function handleDelete(
  context: HttpContext,
  exchange: Exchange,
  { resource, namespace, name }: Target & { readonly name: string },
): Promise<void> {
  const options = await readOptions(exchange);
  const key = namespace === undefined ? { name } : { namespace, name };
  const { stored, gone } = await deleteObject(context, resource, key, options);
  if (!gone) {
    const form = negotiate(exchange.request.headers.accept);
    return sendObject(exchange, resource, stored, { form, now: context.clock.now() });
  }
  const { uid } = stored.object.metadata;
  const details = { ...detailsOf(resource, name), ...(uid === undefined ? {} : { uid }) };
  const status = { kind: 'Status', apiVersion: 'v1', metadata: {}, status: 'Success', details };
  return sendValue(exchange, status);
}

export async function handleDeleteCollection(
  context: HttpContext,
  exchange: Exchange,
  target: Target,
): Promise<void> {
  const { resource } = target;
  const options = await readOptions(exchange);
  const selection = selectionOf(exchange, target);
  const limit = Number(exchange.query.get('limit') ?? 0) || Infinity;
  const matching = select(context.store.list(resource, selection.namespace), selection);
  const chosen = matching.slice(0, limit);
  const results = await Promise.all(
    chosen.map((stored) => deleteIfThere(context, resource, keyOf(stored), options)),
  );
  const deleted = results.filter((stored) => stored !== undefined);
  const metadata = { resourceVersion: String(context.store.revision) };
  const bytes = encodeList(resource, deleted, metadata);
  return send(exchange, { code: 200, bytes, contentType: 'application/json' });
}

/** Somebody else may have been quicker; the collection is not one transaction. */
async function deleteIfThere(
  context: HttpContext,
  resource: Resource,
  key: Key,
  options: Options,
): Promise<Stored | undefined> {
  try {
    return (await deleteObject(context, resource, key, options)).stored;
  } catch (error) {
    if (isReason(error, 'NotFound')) return undefined;
    throw error;
  }
}

function keyOf({ namespace, name }: Stored): Key {
  return namespace === '' ? { name } : { namespace, name };
}

/** DeleteOptions from the body, or else from the query. */
async function readOptions({ request, query }: Exchange): Promise<Options> {
  const bytes = await readBody(request);
  const body =
    bytes.length === 0 ? {} : optionsIn(decodeBody(request.headers['content-type'], bytes));
  const grace = body.gracePeriodSeconds ?? numberOf(query.get('gracePeriodSeconds'));
  const orphan = body.orphanDependents ?? booleanOf(query.get('orphanDependents'));
  const policy = body.propagationPolicy ?? query.get('propagationPolicy') ?? undefined;
  return deleteOptionsOf({
    ...body,
    ...(grace === undefined ? {} : { gracePeriodSeconds: grace }),
    ...(orphan === undefined ? {} : { orphanDependents: orphan }),
    ...(policy === undefined ? {} : { propagationPolicy: policy }),
    dryRun: [...(body.dryRun ?? []), ...query.getAll('dryRun')],
  });
}

/** The body may leave its kind unsaid; of another kind it is a mistake. */
function optionsIn(decoded: Decoded): DeleteOptionsBody {
  const kind = decoded.kind || 'DeleteOptions';
  if (kind !== 'DeleteOptions') throw badRequest(`expected DeleteOptions, not kind "${kind}"`);
  const { object }: { object: object } = conform({ ...decoded, kind }, 'Ignore');
  return object;
}

function numberOf(text: string | null): number | undefined {
  if (text === null || text === '') return undefined;
  const value = Number(text);
  if (Number.isInteger(value)) return value;
  throw badRequest(`invalid gracePeriodSeconds "${text}"`);
}

function booleanOf(text: string | null): boolean | undefined {
  return text === null ? undefined : text === 'true' || text === '1';
}
