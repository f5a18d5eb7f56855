/** Who sends a request: a client certificate, a bearer token, or nobody (A135, A70). */
import type { Http2ServerRequest } from 'node:http2';
import type { PeerCertificate, TLSSocket } from 'node:tls';

import { failure } from '../../api/status.ts';
import type { Caller } from '../context.ts';
import type { Request } from '../http/exchange.ts';
import type { Tokens } from './tokens.ts';

export const anonymous: Caller = { user: 'system:anonymous', groups: ['system:unauthenticated'] };

/** Certificates do not change during a connection. */
const byConnection = new WeakMap<object, Caller | null>();

/** Throws 401 on a token that is not valid, 403 on an impersonation that is not allowed. */
export function authenticateRequest(request: Request, tokens: Tokens | undefined): Caller {
  const caller = identify(request, tokens);
  const user = request.headers['impersonate-user'];
  return typeof user === 'string' ? impersonate(caller, user, request) : caller;
}

/** `kubectl --as`: only administrators may be somebody else. */
function impersonate(caller: Caller, user: string, { headers }: Request): Caller {
  if (!caller.groups.includes('system:masters')) {
    const text = `users "${user}" is forbidden: User "${caller.user}" cannot impersonate resource "users" in API group "" at the cluster scope`;
    throw failure(403, 'Forbidden', text, { name: user, kind: 'users' });
  }
  // Repeated headers come joined by commas.
  const groups = [headers['impersonate-group'] ?? []].flat().join().split(',');
  const named = groups.map((group) => group.trim()).filter((group) => group !== '');
  if (user === anonymous.user) return anonymous;
  return { user, groups: [...named, 'system:authenticated'] };
}

function identify(request: Request, tokens: Tokens | undefined): Caller {
  const certified = callerOfCertificate(request);
  if (certified !== undefined) return certified;
  const { authorization } = request.headers;
  if (authorization === undefined) return anonymous;
  const token = /^Bearer (.+)$/i.exec(authorization)?.[1];
  const caller = token === undefined ? undefined : tokens?.authenticate(token.trim());
  if (caller === undefined) throw failure(401, 'Unauthorized', 'Unauthorized');
  return caller;
}

function callerOfCertificate(request: Request): Caller | undefined {
  const { session } = (request as Http2ServerRequest).stream ?? {};
  const connection: object = session ?? request.socket;
  let caller = byConnection.get(connection);
  if (caller === undefined) {
    const socket = (session === undefined ? request.socket : session.socket) as TLSSocket;
    caller = socket.authorized ? callerOf(socket.getPeerCertificate()) : null;
    byConnection.set(connection, caller);
  }
  return caller ?? undefined;
}

/** CN is the user, every O a group. */
function callerOf({ subject }: PeerCertificate): Caller | null {
  const parts = subject as unknown as Record<string, string | string[] | undefined>;
  const user = [parts.CN ?? []].flat()[0];
  if (user === undefined) return null;
  return { user, groups: [...[parts.O ?? []].flat(), 'system:authenticated'] };
}
