/**
 * Service-account tokens (A100, A136): JWTs signed with ES256 (RFC 7519, RFC 7518 §3.4). One
 * algorithm, one key, both ends ours: what is left of the format is two JSON texts and a signature.
 */
import {
  type KeyObject,
  createHash,
  createPrivateKey,
  createPublicKey,
  sign,
  verify,
} from 'node:crypto';

import type { Key } from '../../api/meta.ts';
import { resources } from '../../api/resources.ts';
import type { TokenRequest } from '../../api/types.ts';
import { invalid } from '../../api/validation/index.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Store } from '../../store/store.ts';
import type { Caller } from '../context.ts';
import { conflict, notFound } from '../refusals.ts';

export type TokenOptions = {
  readonly store: Store;
  readonly clock: Clock;
  /** PKCS #8 PEM of a P-256 key. */
  readonly signingKey: string;
  /** The issuer, and the audience of tokens for this server. */
  readonly issuer: string;
};

type Reference = { readonly name: string; readonly uid: string };

type Claims = {
  readonly iss: string;
  readonly sub: string;
  readonly aud: readonly string[];
  /** Seconds since the epoch. */
  readonly iat: number;
  readonly nbf: number;
  readonly exp: number;
  readonly 'kubernetes.io': {
    readonly namespace: string;
    readonly serviceaccount: Reference;
    readonly pod?: Reference;
    readonly node?: Partial<Reference>;
  };
};

export type Tokens = {
  issue(account: Key, request: TokenRequest): Promise<TokenRequest>;
  /** Who a token stands for; undefined: it is not valid here and now. */
  authenticate(token: string, audiences?: readonly string[]): Caller | undefined;
  readonly issuer: string;
  /** The public keys, as `/openid/v1/jwks` shows them. */
  jwks(): object;
};

const SECONDS_MIN = 600;
const SECONDS_MAX = 2 ** 32;
const SECONDS_DEFAULT = 3600;
/** Clocks of nodes differ a little. */
const SKEW_SECONDS = 10;

export function createTokens(options: TokenOptions): Tokens {
  const privateKey = createPrivateKey(options.signingKey);
  const publicKey = createPublicKey(privateKey);
  const kid = thumbprint(publicKey);
  return {
    issuer: options.issuer,
    issue: async (account, request) => issueToken(options, { privateKey, kid }, account, request),
    authenticate: (token, audiences = [options.issuer]) =>
      authenticate(options, publicKey, token, audiences),
    jwks: () => ({
      keys: [{ use: 'sig', kid, alg: 'ES256', ...publicKey.export({ format: 'jwk' }) }],
    }),
  };
}

function issueToken(
  options: TokenOptions,
  key: { readonly privateKey: KeyObject; readonly kid: string },
  account: Key,
  request: TokenRequest,
): TokenRequest {
  const { store, clock, issuer } = options;
  const stored = store.get(resources.serviceaccounts, account);
  if (stored === undefined) throw notFound(resources.serviceaccounts, account.name);
  const spec = request.spec ?? {};
  const seconds = spec.expirationSeconds ?? SECONDS_DEFAULT;
  refuseDuration(account, seconds);
  const now = Math.floor(clock.now() / 1000);
  const exp = now + seconds;
  const audiences = spec.audiences?.length ? spec.audiences : [issuer];
  const namespace = account.namespace ?? '';
  const claims: Claims = {
    iss: issuer,
    sub: `system:serviceaccount:${namespace}:${account.name}`,
    aud: audiences,
    iat: now,
    nbf: now,
    exp,
    'kubernetes.io': {
      namespace,
      serviceaccount: { name: account.name, uid: stored.object.metadata.uid ?? '' },
      ...boundTo(store, namespace, spec.boundObjectRef),
    },
  };
  const header = { alg: 'ES256', kid: key.kid };
  const signed = `${base64url(header)}.${base64url(claims)}`;
  const signature = sign('sha256', Buffer.from(signed), {
    key: key.privateKey,
    dsaEncoding: 'ieee-p1363',
  });
  return {
    kind: 'TokenRequest',
    apiVersion: 'authentication.k8s.io/v1',
    metadata: {
      ...account,
      creationTimestamp: new Date(now * 1000).toISOString().replace('.000', ''),
    },
    spec: { ...spec, audiences, expirationSeconds: seconds },
    status: {
      token: `${signed}.${signature.toString('base64url')}`,
      expirationTimestamp: new Date(exp * 1000).toISOString().replace('.000', ''),
    },
  };
}

function refuseDuration(account: Key, seconds: number): void {
  if (seconds >= SECONDS_MIN && seconds <= SECONDS_MAX) return;
  const detail =
    seconds < SECONDS_MIN
      ? 'may not specify a duration less than 10 minutes'
      : 'may not specify a duration larger than 2^32 seconds';
  const kind = {
    ...resources.serviceaccounts,
    kind: 'TokenRequest',
    group: 'authentication.k8s.io',
  };
  throw invalid(kind, account.name, [
    { type: 'Invalid', field: 'spec.expirationSeconds', value: seconds, detail },
  ]);
}

/** A bound token dies with its pod. */
function boundTo(
  store: Store,
  namespace: string,
  reference: TokenRequest['spec']['boundObjectRef'],
): { pod?: Reference; node?: Partial<Reference> } {
  if (reference?.kind !== 'Pod' || !reference.name) return {};
  const key = { namespace, name: reference.name };
  const pod = store.get(resources.pods, key)?.object;
  if (pod === undefined) throw notFound(resources.pods, reference.name);
  const { uid = '' } = pod.metadata;
  if (reference.uid && reference.uid !== uid) {
    const why = `the UID in the bound object reference (${reference.uid}) does not match the UID in record. The object might have been deleted and then recreated`;
    throw conflict(resources.pods, reference.name, why);
  }
  const { nodeName } = (pod as { spec?: { nodeName?: string } }).spec ?? {};
  const node = nodeName ? store.get(resources.nodes, { name: nodeName })?.object : undefined;
  return {
    pod: { name: reference.name, uid },
    ...(node === undefined
      ? {}
      : { node: { name: node.metadata.name, uid: node.metadata.uid ?? '' } }),
  };
}

function authenticate(
  { store, clock, issuer }: TokenOptions,
  publicKey: KeyObject,
  token: string,
  audiences: readonly string[],
): Caller | undefined {
  const claims = verifiedClaims(token, publicKey);
  if (claims === undefined || claims.iss !== issuer) return undefined;
  if (!claims.aud.some((audience) => audiences.includes(audience))) return undefined;
  const now = clock.now() / 1000;
  if (now >= claims.exp || now < claims.nbf - SKEW_SECONDS) return undefined;
  const { namespace, serviceaccount, pod } = claims['kubernetes.io'];
  const account = store.get(resources.serviceaccounts, { namespace, name: serviceaccount.name });
  if (account?.object.metadata.uid !== serviceaccount.uid) return undefined;
  if (pod !== undefined) {
    const bound = store.get(resources.pods, { namespace, name: pod.name });
    if (bound?.object.metadata.uid !== pod.uid) return undefined;
  }
  return {
    user: claims.sub,
    uid: serviceaccount.uid,
    groups: [
      'system:serviceaccounts',
      `system:serviceaccounts:${namespace}`,
      'system:authenticated',
    ],
    ...(pod === undefined
      ? {}
      : {
          extra: {
            'authentication.kubernetes.io/pod-name': [pod.name],
            'authentication.kubernetes.io/pod-uid': [pod.uid],
          },
        }),
  };
}

/** The claims if the signature is ours. */
function verifiedClaims(token: string, publicKey: KeyObject): Claims | undefined {
  const parts = token.split('.');
  const [header, body, signature] = parts;
  if (parts.length !== 3 || !header || !body || !signature) return undefined;
  // The header names the algorithm; only ours is ever tried.
  const valid = verify(
    'sha256',
    Buffer.from(`${header}.${body}`),
    { key: publicKey, dsaEncoding: 'ieee-p1363' },
    Buffer.from(signature, 'base64url'),
  );
  return valid ? (JSON.parse(Buffer.from(body, 'base64url').toString()) as Claims) : undefined;
}

/** RFC 7638: a key's name from the key itself. */
function thumbprint(key: KeyObject): string {
  const { crv, kty, x, y } = key.export({ format: 'jwk' });
  return createHash('sha256').update(JSON.stringify({ crv, kty, x, y })).digest('base64url');
}

function base64url(value: object): string {
  return Buffer.from(JSON.stringify(value)).toString('base64url');
}
