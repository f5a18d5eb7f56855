/**
 * The cluster's own certificate authority and what it signs: X.509 v3 with ECDSA P-256 keys
 * (RFC 5280, RFC 5758). Written out by hand because issuing is on the path of every start and the
 * libraries for it take longer to load than all certificates of a cluster take to make.
 */
import {
  type KeyObject,
  X509Certificate,
  createHash,
  createPrivateKey,
  createPublicKey,
  generateKeyPairSync,
  randomBytes,
  sign,
} from 'node:crypto';

import { ipBytes } from '../../lib/ip.ts';
import {
  bitString,
  boolean,
  explicit,
  implicit,
  integer,
  octetString,
  oid,
  sequence,
  setOf,
  time,
  utf8String,
} from './der.ts';

/** A certificate and its private key (PKCS #8), both PEM. */
export type KeyPair = { readonly cert: string; readonly key: string };

export type CertificateRequest = {
  /** For a client: the user name. */
  readonly cn: string;
  /** For a client: the groups. */
  readonly orgs?: readonly string[];
  readonly ips?: readonly string[];
  readonly dnsNames?: readonly string[];
  readonly usages: readonly ('server' | 'client')[];
};

const DAY_MS = 24 * 3600 * 1000;
const CA_DAYS = 3650;
const LEAF_DAYS = 3650;
/** Clocks of two machines differ; a certificate may not be from the future. */
const SKEW_MS = 3600 * 1000;

const SIGNATURE = sequence(oid('1.2.840.10045.4.3.2'));
const USAGE_OIDS = { server: '1.3.6.1.5.5.7.3.1', client: '1.3.6.1.5.5.7.3.2' } as const;

/** A new certificate authority. */
export function createCa(cn = 'fairlead', now = Date.now()): KeyPair {
  const keys = newKeys();
  const subject = nameOf(cn, []);
  const cert = certificate({
    subject,
    issuer: subject,
    publicKey: keys.publicKey,
    signingKey: keys.privateKey,
    now,
    days: CA_DAYS,
    extensions: [
      extension('2.5.29.19', sequence(boolean(true)), { critical: true }),
      // keyCertSign (bit 5), cRLSign (6) and digitalSignature (0).
      extension('2.5.29.15', bitString(Uint8Array.of(0b1000_0110), 1), { critical: true }),
      extension('2.5.29.14', octetString(keyId(keys.publicKey))),
    ],
  });
  return { cert, key: pemKey(keys.privateKey) };
}

/** A new key with a certificate of the authority. */
export function issue(ca: KeyPair, request: CertificateRequest, now = Date.now()): KeyPair {
  const keys = newKeys();
  const authority = new X509Certificate(ca.cert);
  const caName = authority.subject.replace(/^CN=/, '');
  const cert = certificate({
    subject: nameOf(request.cn, request.orgs ?? []),
    issuer: nameOf(caName, []),
    publicKey: keys.publicKey,
    signingKey: createPrivateKey(ca.key),
    now,
    days: LEAF_DAYS,
    extensions: leafExtensions(request, authority.publicKey),
  });
  return { cert, key: pemKey(keys.privateKey) };
}

/** A private key (PKCS #8 PEM) that signs service-account tokens. */
export function createSigningKey(): string {
  return pemKey(newKeys().privateKey);
}

/** The public half of a signing key, as SPKI PEM. */
export function publicKeyOf(privateKey: string): string {
  return createPublicKey(privateKey).export({ type: 'spki', format: 'pem' });
}

function leafExtensions(request: CertificateRequest, authority: KeyObject): Uint8Array[] {
  const usages = request.usages.map((usage) => oid(USAGE_OIDS[usage]));
  const names = [
    ...(request.dnsNames ?? []).map((name) => implicit(2, Buffer.from(name))),
    ...(request.ips ?? []).map((address) => implicit(7, ipBytes(address))),
  ];
  return [
    extension('2.5.29.19', sequence(), { critical: true }),
    // digitalSignature (bit 0); an EC key enciphers nothing.
    extension('2.5.29.15', bitString(Uint8Array.of(0b1000_0000), 7), { critical: true }),
    extension('2.5.29.37', sequence(...usages)),
    extension('2.5.29.35', sequence(implicit(0, keyId(authority)))),
    ...(names.length === 0 ? [] : [extension('2.5.29.17', sequence(...names))]),
  ];
}

type Parts = {
  readonly subject: Uint8Array;
  readonly issuer: Uint8Array;
  readonly publicKey: KeyObject;
  readonly signingKey: KeyObject;
  readonly now: number;
  readonly days: number;
  readonly extensions: readonly Uint8Array[];
};

/** RFC 5280 §4.1: the TBSCertificate, and the signature over its bytes. */
function certificate(parts: Parts): string {
  const body = sequence(
    explicit(0, integer(2)),
    integer(0x01, ...randomBytes(15)),
    SIGNATURE,
    parts.issuer,
    sequence(time(parts.now - SKEW_MS), time(parts.now + parts.days * DAY_MS)),
    parts.subject,
    spki(parts.publicKey),
    explicit(3, sequence(...parts.extensions)),
  );
  const signature = sign('sha256', body, parts.signingKey);
  return pem('CERTIFICATE', sequence(body, SIGNATURE, bitString(signature)));
}

function extension(
  id: string,
  value: Uint8Array,
  { critical = false }: { readonly critical?: boolean } = {},
): Uint8Array {
  return sequence(oid(id), ...(critical ? [boolean(true)] : []), octetString(value));
}

/** A distinguished name: organisations first, as Kubernetes's own tools order it. */
function nameOf(cn: string, orgs: readonly string[]): Uint8Array {
  const part = (id: string, text: string) => setOf(sequence(oid(id), utf8String(text)));
  return sequence(...orgs.map((org) => part('2.5.4.10', org)), part('2.5.4.3', cn));
}

/** RFC 5280 §4.2.1.2: the hash of the key's bits, which end a P-256 SPKI of 91 bytes. */
function keyId(key: KeyObject): Uint8Array {
  return createHash('sha1').update(spki(key).subarray(26)).digest();
}

function spki(key: KeyObject): Uint8Array {
  return key.export({ type: 'spki', format: 'der' });
}

function newKeys(): { publicKey: KeyObject; privateKey: KeyObject } {
  return generateKeyPairSync('ec', { namedCurve: 'P-256' });
}

function pemKey(key: KeyObject): string {
  return key.export({ type: 'pkcs8', format: 'pem' });
}

function pem(label: string, der: Uint8Array): string {
  const lines =
    Buffer.from(der)
      .toString('base64')
      .match(/.{1,64}/g) ?? [];
  return `-----BEGIN ${label}-----\n${lines.join('\n')}\n-----END ${label}-----\n`;
}
