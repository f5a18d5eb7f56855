/** DELETE of one object or of a collection (A40-A42). */
import { decodeBody } from '../../api/decode.ts';
import type { Key } from '../../api/meta.ts';
import type { Resource } from '../../api/resources.ts';
import { isReason } from '../../api/status.ts';
import type { DeleteOptions } from '../../client/client.ts';
import type { Stored } from '../../store/store.ts';
import type { WriteOptions } from '../context.ts';
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

type OptionsBody = {
  gracePeriodSeconds?: number;
  propagationPolicy?: string;
  orphanDependents?: boolean;
  preconditions?: { uid?: string; resourceVersion?: string };
  dryRun?: string[];
};

/** DeleteOptions from the body, or else from the query. */
async function readOptions({ request, query }: Exchange): Promise<Options> {
  const bytes = await readBody(request);
  const body: OptionsBody =
    bytes.length === 0 ? {} : decodeBody(request.headers['content-type'], bytes).object;
  const grace = body.gracePeriodSeconds ?? numberOf(query.get('gracePeriodSeconds'));
  const orphan = body.orphanDependents ?? booleanOf(query.get('orphanDependents'));
  const policy = body.propagationPolicy ?? query.get('propagationPolicy') ?? undefined;
  const propagationPolicy = policyOf(policy, orphan);
  const dryRuns = [...(body.dryRun ?? []), ...query.getAll('dryRun')];
  if (dryRuns.some((value) => value !== 'All')) {
    throw badRequest(`invalid dryRun value ${JSON.stringify(dryRuns)}: only "All" is known`);
  }
  return {
    dryRun: dryRuns.length > 0,
    ...(grace === undefined ? {} : { gracePeriodSeconds: grace }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(body.preconditions === undefined ? {} : { preconditions: body.preconditions }),
  };
}

const POLICIES = ['Background', 'Foreground', 'Orphan'] as const;

function policyOf(
  text: string | undefined,
  orphan: boolean | undefined,
): (typeof POLICIES)[number] | undefined {
  if (text === undefined || text === '') {
    return orphan === undefined ? undefined : orphan ? 'Orphan' : 'Background';
  }
  const policy = POLICIES.find((name) => name === text);
  if (policy !== undefined) return policy;
  throw badRequest(
    `invalid propagationPolicy "${text}": must be one of "Background", "Foreground", "Orphan"`,
  );
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
