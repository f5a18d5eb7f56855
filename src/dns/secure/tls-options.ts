/** The certificate of a listener, and what it wants of its clients. */
import { readFileSync } from 'node:fs';
import type { TlsOptions } from 'node:tls';

/** Paths of PEM files. */
export type TlsListenSettings = {
  readonly cert: string;
  readonly key: string;
  /** Whose clients are known. */
  readonly ca: string | undefined;
  readonly clientAuth: ClientAuth;
};

export const clientAuths = [
  'nocert',
  'request',
  'require',
  'verify_if_given',
  'require_and_verify',
] as const;
export type ClientAuth = (typeof clientAuths)[number];

/** A handshake that takes longer is none. */
const handshakeTimeoutMs = 10_000;

export function tlsServerOptions({ cert, key, ca, clientAuth }: TlsListenSettings): TlsOptions {
  return {
    cert: readFileSync(cert, 'utf8'),
    key: readFileSync(key, 'utf8'),
    ...(ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') }),
    requestCert: clientAuth !== 'nocert',
    rejectUnauthorized: clientAuth === 'require_and_verify',
    handshakeTimeout: handshakeTimeoutMs,
  };
}
