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

/** Throws 401 on a token that is not valid. */
export function authenticateRequest(request: Request, tokens: Tokens | undefined): Caller {
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
