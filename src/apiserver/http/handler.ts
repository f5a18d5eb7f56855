/** From a request to what it asks for: the non-resource paths first, then the resources. */
import { failure } from '../../api/status.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { anonymous, authenticateRequest } from '../auth/authenticate.ts';
import type { Tokens } from '../auth/tokens.ts';
import type { ApiContext } from '../context.ts';
import type { NodeProxy } from '../node-proxy.ts';
import { handleDocument } from './documents.ts';
import { type Exchange, type Request, type Response, parseUrl, verbOf } from './exchange.ts';
import { handleHealth } from './health.ts';
import { handleResource } from './resource.ts';
import { sendError } from './respond.ts';
import { resolveTarget } from './target.ts';
import type { Watches } from './watching.ts';

export type HttpContext = ApiContext & {
  readonly tokens: Tokens | undefined;
  readonly nodes: NodeProxy | undefined;
  readonly watches: Watches;
  readonly log: Logger | undefined;
  /** `host:port`, for discovery. */
  serverAddress: string;
};

/** Answers one request; never throws. */
export async function handleRequest(
  context: HttpContext,
  request: Request,
  response: Response,
): Promise<void> {
  try {
    await answer(context, request, response);
  } catch (error) {
    // Not even the refusal could be sent: the connection is broken.
    context.log?.debug({ error: messageOf(error) }, 'cannot answer');
    response.destroy();
  }
}

async function answer(context: HttpContext, request: Request, response: Response): Promise<void> {
  const started = context.clock.monotonicMs();
  let exchange: Exchange = {
    request,
    response,
    method: request.method ?? 'GET',
    path: request.url ?? '/',
    segments: [],
    query: new URLSearchParams(),
    caller: anonymous,
    warnings: new Set(),
  };
  try {
    exchange = { ...exchange, ...parseUrl(exchange.path) };
    exchange = { ...exchange, caller: authenticateRequest(request, context.tokens) };
    await dispatch(context, exchange);
  } catch (error) {
    logFailure(context, exchange, error);
    await sendError(exchange, error);
  }
  const ms = Math.round(context.clock.monotonicMs() - started);
  const { method, path } = exchange;
  context.log?.debug({ method, path, code: response.statusCode, ms }, 'request');
}

async function dispatch(context: HttpContext, exchange: Exchange): Promise<void> {
  if (await handleHealth(context, exchange)) return;
  if (exchange.caller === anonymous) throw forbiddenTo(exchange);
  if (await handleDocument(context, exchange)) return;
  const target = resolveTarget(exchange.segments);
  if (target === undefined) {
    throw failure(404, 'NotFound', 'the server could not find the requested resource', {});
  }
  await handleResource(context, exchange, target);
}

/** A70: nobody without a name gets past health and version. */
function forbiddenTo({ caller, method, path, segments }: Exchange): Error {
  const target = resolveTarget(segments);
  const verb = verbOf(method);
  if (target === undefined) {
    const text = `forbidden: User "${caller.user}" cannot ${verb} path "${path}"`;
    return failure(403, 'Forbidden', text, {});
  }
  const { resource, namespace, name } = target;
  const where =
    namespace === undefined ? 'at the cluster scope' : `in the namespace "${namespace}"`;
  const text = `${resource.resource} is forbidden: User "${caller.user}" cannot ${name === undefined && verb === 'get' ? 'list' : verb} resource "${resource.resource}" in API group "${resource.group}" ${where}`;
  return failure(403, 'Forbidden', text, { kind: resource.resource });
}

function logFailure({ log }: HttpContext, { method, path }: Exchange, error: unknown): void {
  const known = typeof error === 'object' && error !== null && 'status' in error;
  if (known) log?.debug({ method, path, error: (error as unknown as Error).message }, 'refused');
  else log?.warn({ method, path, err: error }, 'request failed');
}
