/** Requests about resources: one function per method. */
import { type Decoded, decodeBody } from '../../api/decode.ts';
import { subresourceKindOf, subresourceVerbsOf } from '../../api/discovery.ts';
import { conform, parseFieldValidation } from '../../api/fields.ts';
import { patchKindOf } from '../../api/patch/index.ts';
import { type Resource, apiVersionOf } from '../../api/resources.ts';
import { failure } from '../../api/status.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Stored } from '../../store/store.ts';
import { answerReview } from '../auth/reviews.ts';
import type { AnyObject } from '../context.ts';
import { patchObject } from '../patching.ts';
import { badRequest } from '../refusals.ts';
import { createObject, getObject } from '../registry.ts';
import { scaleOf } from '../scale.ts';
import { postSubresource, putObject } from '../subresources.ts';
import { handleDelete, handleDeleteCollection } from './deleting.ts';
import { type Exchange, readBody, verbOf } from './exchange.ts';
import type { HttpContext } from './handler.ts';
import { handleList } from './listing.ts';
import { negotiate } from './negotiate.ts';
import { sendObject } from './objects.ts';
import { sendValue } from './respond.ts';
import type { Target } from './target.ts';
import { handleWatch, isTrue } from './watching.ts';
import { requireRevision } from './versions.ts';

type Named = Target & { readonly name: string };

export async function handleResource(
  context: HttpContext,
  exchange: Exchange,
  target: Target,
): Promise<void> {
  const { method } = exchange;
  if (target.resource.createOnly === true) return handleReview(context, exchange, target);
  const { subresource } = target;
  if (subresource !== undefined && !subresourceVerbsOf(subresource).includes(verbOf(method))) {
    throw notAllowed();
  }
  if (STREAMING.has(target.subresource ?? '')) {
    if (context.nodes === undefined)
      throw failure(503, 'ServiceUnavailable', 'this server reaches no nodes');
    return context.nodes.handle(exchange, target);
  }
  switch (method) {
    case 'GET':
    case 'HEAD':
      return handleGet(context, exchange, target);
    case 'POST':
      return handlePost(context, exchange, target);
    case 'PUT':
      return handlePut(context, exchange, named(target));
    case 'PATCH':
      return handlePatch(context, exchange, named(target));
    case 'DELETE':
      if (target.name === undefined) return handleDeleteCollection(context, exchange, target);
      return handleDelete(context, exchange, named(target));
    default:
      throw notAllowed();
  }
}

/** Subresources that live on the nodes. */
const STREAMING = new Set(['log', 'exec', 'attach', 'portforward']);

function notAllowed(): Error {
  const text = 'the server does not allow this method on the requested resource';
  return failure(405, 'MethodNotAllowed', text, {});
}

function named(target: Target): Named {
  if (target.name === undefined) throw notAllowed();
  return { ...target, name: target.name };
}

function keyOf({ namespace, name }: Named): { namespace?: string; name: string } {
  return namespace === undefined ? { name } : { namespace, name };
}

async function handleGet(context: HttpContext, exchange: Exchange, target: Target): Promise<void> {
  const { query } = exchange;
  const form = negotiate(exchange.request.headers.accept);
  const watch = query.get('watch');
  if (watch !== null && isTrue(watch)) {
    return handleWatch(context, exchange, withNameSelected(exchange, target), form);
  }
  if (target.name === undefined) return handleList(context, exchange, target, form);
  const version = query.get('resourceVersion');
  if (version !== null && version !== '' && version !== '0')
    await requireRevision(context, version);
  const stored = getObject(context, target.resource, keyOf(named(target)));
  if (target.subresource === 'scale') return sendValue(exchange, scaleOf(stored.object), { form });
  if (target.subresource !== undefined && target.subresource !== 'status') throw notAllowed();
  return sendObject(exchange, target.resource, stored, { form, now: context.clock.now() });
}

/** A watch of one name is a watch of the collection that selects it (A74). */
function withNameSelected({ query }: Exchange, target: Target): Target {
  if (target.name === undefined) return target;
  const text = query.get('fieldSelector') ?? '';
  const given = /(?:^|,)metadata\.name==?([^,]*)/.exec(text)?.[1];
  if (given !== undefined && given !== target.name) {
    throw badRequest('field selector metadata.name does not match the name on the URL');
  }
  if (given === undefined) {
    query.set('fieldSelector', `${text}${text === '' ? '' : ','}metadata.name=${target.name}`);
  }
  return { ...target, name: undefined };
}

async function handleReview(
  context: HttpContext,
  exchange: Exchange,
  { resource, name }: Target,
): Promise<void> {
  if (exchange.method !== 'POST' || name !== undefined) throw notAllowed();
  const { request } = exchange;
  const decoded = decodeBody(request.headers['content-type'], await readBody(request));
  if (decoded.kind !== resource.kind) {
    throw badRequest(`expected a ${resource.kind}, not kind "${decoded.kind}"`);
  }
  // The shape of a beta version is that of the first stable one.
  const apiVersion = `${resource.group}/v1`;
  const body = conformed(exchange, { ...decoded, apiVersion }, 'Warn');
  const answer = answerReview(context, resource, body, exchange.caller);
  return sendValue(exchange, answer, { code: 201 });
}

async function handlePost(context: HttpContext, exchange: Exchange, target: Target): Promise<void> {
  const { resource, namespace, subresource } = target;
  const options = dryRunOf(exchange.query);
  if (subresource !== undefined) {
    const body = await readPart(exchange, resource, subresource);
    const key = keyOf(named(target));
    const { caller } = exchange;
    const request = { resource, key, subresource, body, caller, ...options };
    return sendValue(exchange, await postSubresource(context, request), { code: 201 });
  }
  // Only a binding is posted to something that has a name already.
  if (target.name !== undefined) throw notAllowed();
  const form = negotiate(exchange.request.headers.accept);
  const body = await readObject(exchange, resource);
  const stored = await createObject(context, resource, namespace, body, options);
  const now = context.clock.now();
  return sendObject(exchange, resource, stored, { form, code: 201, now });
}

async function handlePut(context: HttpContext, exchange: Exchange, target: Named): Promise<void> {
  const { resource, subresource } = target;
  const form = negotiate(exchange.request.headers.accept);
  const body =
    subresource === 'scale'
      ? await readPart(exchange, resource, subresource)
      : await readObject(exchange, resource);
  const { stored, created } = await putObject(context, resource, keyOf(target), body, {
    ...dryRunOf(exchange.query),
    ...(subresource === undefined ? {} : { subresource }),
  });
  return answerWrite(context, exchange, target, { stored, created, form });
}

/** Reads the body of a subresource that has a kind of its own, which the body may leave unsaid. */
async function readPart(
  exchange: Exchange,
  resource: Resource,
  subresource: string,
): Promise<AnyObject> {
  const { request, query } = exchange;
  const mode = parseFieldValidation(query.get('fieldValidation') ?? undefined);
  const decoded = decodeBody(request.headers['content-type'], await readBody(request));
  const expected = subresourceKindOf(resource, subresource);
  const kind = decoded.kind || expected.kind;
  if (kind !== expected.kind) {
    throw badRequest(`expected a ${expected.kind}, not kind "${decoded.kind}"`);
  }
  const apiVersion = decoded.apiVersion || apiVersionOf(expected);
  return conformed(exchange, { ...decoded, kind, apiVersion }, mode);
}

async function handlePatch(context: HttpContext, exchange: Exchange, target: Named): Promise<void> {
  const { request, query } = exchange;
  const { resource, subresource } = target;
  const form = negotiate(request.headers.accept);
  const type = patchKindOf(request.headers['content-type']);
  const bytes = await readBody(request);
  if (type === undefined) throw unsupportedPatch(request.headers['content-type']);
  const mode = parseFieldValidation(query.get('fieldValidation') ?? undefined);
  if (query.get('force') !== null) {
    throw failure(
      422,
      'Invalid',
      'PatchOptions.meta.k8s.io "" is invalid: force: Forbidden: may not be specified for non-apply patch',
    );
  }
  const { stored, created } = await patchObject(
    context,
    resource,
    keyOf(target),
    parsePatch(bytes),
    {
      type,
      ...dryRunOf(query),
      ...(subresource === undefined ? {} : { subresource }),
      conform: (object) => conformed(exchange, decodedFrom(resource, object), mode),
    },
  );
  return answerWrite(context, exchange, target, { stored, created, form });
}

function parsePatch(bytes: Buffer): unknown {
  try {
    return JSON.parse(bytes.toString());
  } catch (error) {
    throw badRequest(`error decoding patch: ${messageOf(error)}`);
  }
}

function unsupportedPatch(contentType: string | undefined): Error {
  const accepted =
    'application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json';
  const what = contentType?.startsWith('application/apply-patch')
    ? 'server-side apply is not served yet'
    : 'the body of the request was in an unknown format';
  const text = `${what} - accepted media types include: ${accepted}`;
  return failure(415, 'UnsupportedMediaType', text);
}

async function answerWrite(
  context: HttpContext,
  exchange: Exchange,
  { resource, subresource }: Target,
  {
    stored,
    created,
    form,
  }: {
    readonly stored: Stored;
    readonly created: boolean;
    readonly form: ReturnType<typeof negotiate>;
  },
): Promise<void> {
  const code = created ? 201 : 200;
  if (subresource === 'scale') return sendValue(exchange, scaleOf(stored.object), { code, form });
  return sendObject(exchange, resource, stored, { form, code, now: context.clock.now() });
}

/** A45: `All` is the only value there is. */
export function dryRunOf(query: URLSearchParams): { dryRun: boolean } {
  const values = query.getAll('dryRun');
  const wrong = values.find((value) => value !== 'All');
  if (wrong === undefined) return { dryRun: values.length > 0 };
  throw failure(422, 'Invalid', `dryRun: Unsupported value: "${wrong}": supported values: "All"`);
}

/** Reads the body as an object of the URL's kind. */
async function readObject(exchange: Exchange, resource: Resource): Promise<AnyObject> {
  const { request, query } = exchange;
  const mode = parseFieldValidation(query.get('fieldValidation') ?? undefined);
  const decoded = decodeBody(request.headers['content-type'], await readBody(request));
  const expected = apiVersionOf(resource);
  if (decoded.kind !== resource.kind || decoded.apiVersion !== expected) {
    throw badRequest(
      `the API version in the data (${decoded.apiVersion}, kind ${decoded.kind}) does not match the expected API version (${expected}, kind ${resource.kind})`,
    );
  }
  return conformed(exchange, decoded, mode);
}

function decodedFrom(resource: Resource, object: AnyObject): Decoded {
  return {
    object: object,
    apiVersion: apiVersionOf(resource),
    kind: resource.kind,
    duplicates: [],
  };
}

function conformed(
  exchange: Exchange,
  decoded: Decoded,
  mode: ReturnType<typeof parseFieldValidation>,
): AnyObject {
  const { object, warnings } = conform(decoded, mode);
  for (const warning of warnings) exchange.warnings.add(warning);
  return object;
}
