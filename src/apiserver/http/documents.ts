/** Discovery, OpenAPI and the other read-only documents (A1-A20). */
import { createHash } from 'node:crypto';

import {
  aggregatedDiscovery,
  apiGroup,
  apiGroupList,
  apiResourceList,
  apiVersions,
} from '../../api/discovery.ts';
import type { Document } from '../../api/openapi/index.ts';
import { failure } from '../../api/status.ts';
import type { Exchange } from './exchange.ts';
import type { HttpContext } from './handler.ts';
import { negotiate, notAcceptable, parseAccept } from './negotiate.ts';
import { send, sendValue } from './respond.ts';

/** Whether the path was one of ours, and answered. */
export async function handleDocument(context: HttpContext, exchange: Exchange): Promise<boolean> {
  const { segments } = exchange;
  const [first, second, third] = segments;
  const document = segments.length <= 3 && (await discovery(context, exchange));
  if (document) return true;
  if (first === 'openapi' || first === 'swagger-2.0.0.pb-v1') {
    await handleOpenApi(exchange, segments);
    return true;
  }
  if (first === undefined) {
    await sendValue(exchange, { paths: PATHS });
    return true;
  }
  const { tokens } = context;
  if (tokens === undefined) return false;
  if (first === 'openid' && second === 'v1' && third === 'jwks') {
    await sendValue(exchange, tokens.jwks(), { contentType: 'application/jwk-set+json' });
    return true;
  }
  if (first !== '.well-known' || second !== 'openid-configuration') return false;
  await sendValue(exchange, {
    issuer: tokens.issuer,
    jwks_uri: `https://${context.serverAddress}/openid/v1/jwks`,
    response_types_supported: ['id_token'],
    subject_types_supported: ['public'],
    id_token_signing_alg_values_supported: ['ES256'],
  });
  return true;
}

const PATHS = [
  '/.well-known/openid-configuration',
  '/api',
  '/api/v1',
  '/apis',
  '/healthz',
  '/livez',
  '/metrics',
  '/openapi/v2',
  '/openapi/v3',
  '/openid/v1/jwks',
  '/readyz',
  '/version',
];

async function discovery(context: HttpContext, exchange: Exchange): Promise<boolean> {
  const [first, group, version] = exchange.segments;
  if (first !== 'api' && first !== 'apis') return false;
  if (group === undefined) {
    await sendRoot(context, exchange, first);
    return true;
  }
  let body: object | undefined;
  if (first === 'api') {
    if (version !== undefined) return false;
    body = apiResourceList('', group);
  } else {
    body = version === undefined ? apiGroup(group) : apiResourceList(group, version);
  }
  if (body === undefined) {
    throw failure(404, 'NotFound', 'the server could not find the requested resource', {});
  }
  await sendValue(exchange, body, { form: negotiate(exchange.request.headers.accept) });
  return true;
}

/** A5: one answer with everything for clients that ask for it, by version of their choice. */
async function sendRoot(
  context: HttpContext,
  exchange: Exchange,
  root: 'api' | 'apis',
): Promise<void> {
  for (const { type, params } of parseAccept(exchange.request.headers.accept)) {
    const version = params.get('v');
    const aggregated =
      params.get('g') === 'apidiscovery.k8s.io' && params.get('as') === 'APIGroupDiscoveryList';
    if (type !== 'application/json' || (aggregated && version !== 'v2' && version !== 'v2beta1')) {
      continue;
    }
    if (!aggregated) break;
    const contentType = `application/json;g=apidiscovery.k8s.io;v=${version};as=APIGroupDiscoveryList`;
    const bytes = Buffer.from(
      JSON.stringify(aggregatedDiscovery(root, version as 'v2' | 'v2beta1')),
    );
    const etag = `"${createHash('sha256').update(bytes).digest('hex').toUpperCase()}"`;
    return sendCached(exchange, { bytes, etag }, contentType);
  }
  const body = root === 'api' ? apiVersions(context.serverAddress) : apiGroupList();
  return sendValue(exchange, body, { form: negotiate(exchange.request.headers.accept) });
}

const V2_PROTOBUF = /^application\/com\.github\.proto-openapi\.spec\.v2[@.]v1\.0\+protobuf$/;

async function handleOpenApi(exchange: Exchange, segments: readonly string[]): Promise<void> {
  // The documents are big and many servers are never asked for one.
  const openapi = await import('../../api/openapi/index.ts');
  const [, version, ...rest] = segments;
  if (segments[0] === 'swagger-2.0.0.pb-v1') {
    return sendCached(exchange, openapi.openApiV2Protobuf(), PROTOBUF_TYPE);
  }
  if (version === 'v2' && rest.length === 0) {
    const clauses = parseAccept(exchange.request.headers.accept);
    if (clauses.length === 0) return sendCached(exchange, openapi.openApiV2Json());
    for (const { type } of clauses) {
      if (V2_PROTOBUF.test(type)) {
        return sendCached(exchange, openapi.openApiV2Protobuf(), PROTOBUF_TYPE);
      }
      if (['application/json', 'application/*', '*/*'].includes(type)) {
        return sendCached(exchange, openapi.openApiV2Json());
      }
    }
    throw notAcceptable(
      'application/json, application/com.github.proto-openapi.spec.v2@v1.0+protobuf',
    );
  }
  if (version === 'v3') {
    const document =
      rest.length === 0 ? openapi.openApiV3Index() : openapi.openApiV3(rest.join('/'));
    if (document !== undefined) return sendCached(exchange, document);
  }
  throw failure(404, 'NotFound', 'the server could not find the requested resource', {});
}

const PROTOBUF_TYPE = 'application/com.github.proto-openapi.spec.v2.v1.0+protobuf';

async function sendCached(
  exchange: Exchange,
  { bytes, etag }: Document,
  contentType = 'application/json',
): Promise<void> {
  const headers: Record<string, string> = { etag, vary: 'Accept' };
  // What the URL names by its hash never changes (A17).
  if (exchange.query.has('hash')) headers['cache-control'] = 'public, immutable, max-age=31536000';
  const unchanged = exchange.request.headers['if-none-match']?.includes(etag) ?? false;
  if (unchanged) {
    return send(exchange, { code: 304, bytes: new Uint8Array(), contentType, headers });
  }
  return send(exchange, { code: 200, bytes, contentType, headers });
}
