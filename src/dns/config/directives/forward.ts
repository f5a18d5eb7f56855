/** `forward FROM TO… { … }`; several of one block are asked in the order they stand in. */
import { existsSync } from 'node:fs';

import { familyOf } from '../../../lib/ip.ts';
import { dnsLimits } from '../../limits.ts';
import { parseResolvConf, parseServer, type Server } from '../../upstream/servers.ts';
import { RCODE } from '../../wire/message.ts';
import { root } from '../../wire/name.ts';
import { parseRcode } from '../../wire/text.ts';
import {
  argumentOf,
  argumentsOf,
  durationOf,
  flagOf,
  nameOf,
  numberOf,
  oneOf,
  pathOf,
  readNamedFile,
  readProperties,
  zonesOf,
} from '../arguments.ts';
import { defaultForward } from '../default-forward.ts';
import type { Line } from '../parse.ts';
import { fault, type Token } from '../tokens.ts';
import type { ForwardSettings, HealthCheck, TlsFiles } from '../types.ts';
import type { Context } from './directive.ts';

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

export function readForward(lines: readonly Line[], context: Context): ForwardSettings[] {
  return lines.map((line) => readOne(line, context));
}

function readOne(line: Line, context: Context): ForwardSettings {
  const [from, ...to] = argumentsOf(line, { min: 2 });
  const zones = zonesOf(from!);
  if (zones.length > 1) {
    context.warn(`forward "${from!.text}" is ${zones.length} zones, only the first is forwarded`);
  }
  const found: Mutable<ForwardSettings> = {
    ...defaultForward,
    from: zones[0]!,
    servers: to.flatMap(serversOf),
  };
  if (found.servers.length > dnsLimits.upstreamsMax) {
    throw fault(to[0]!, `more than ${dnsLimits.upstreamsMax} servers to forward to`);
  }
  readProperties(line, readersInto(found));
  const named = found.servers.find(({ serverName }) => serverName !== undefined);
  if (named !== undefined && found.tlsServerName !== undefined) {
    throw fault(to[0]!, '"tls_servername" and a name behind "%" exclude each other');
  }
  return found;
}

const policies = ['random', 'round_robin', 'sequential'] as const;

function readersInto(found: Mutable<ForwardSettings>): Record<string, (line: Line) => void> {
  const zones = (line: Line) => argumentsOf(line, { min: 1 }).flatMap(zonesOf);
  const unlimited = (count: number) => (count === 0 ? Infinity : count);
  return {
    except: (line) => (found.except = [...found.except, ...zones(line)]),
    policy: (line) => (found.policy = oneOf(argumentOf(line), policies)),
    max_concurrent: (line) => (found.maxConcurrent = unlimited(numberOf(argumentOf(line)))),
    max_fails: (line) => (found.maxFails = numberOf(argumentOf(line))),
    max_connect_attempts: (line) => (found.maxAttempts = unlimited(numberOf(argumentOf(line)))),
    force_tcp: (line) => (found.forceTcp = flagOf(line)),
    // What this server does anyway: UDP first, TCP for what does not fit.
    prefer_udp: flagOf,
    expire: (line) => (found.expireMs = durationOf(argumentOf(line))),
    max_age: (line) => (found.maxAgeMs = durationOf(argumentOf(line))),
    max_idle_conns: (line) => (found.maxIdle = numberOf(argumentOf(line))),
    read_timeout: (line) => (found.readTimeoutMs = durationOf(argumentOf(line), { minMs: 1 })),
    health_check: (line) => (found.healthCheck = healthCheckOf(line)),
    failfast_all_unhealthy_upstreams: (line) => (found.failFast = flagOf(line)),
    failover: (line) => (found.failover = [...found.failover, ...rcodesOf(line, false)]),
    next: (line) => (found.next = [...found.next, ...rcodesOf(line, true)]),
    next_on_nodata: (line) => (found.nextOnNodata = flagOf(line)),
    tls: (line) => (found.tls = tlsFilesOf(argumentsOf(line, { max: 3 }))),
    tls_servername: (line) => (found.tlsServerName = argumentOf(line).text),
    doh_method: (line) => (found.dohMethod = oneOf(argumentOf(line), ['GET', 'POST'])),
    source_address: (line) => (found.sourceAddress = addressOf(argumentOf(line))),
  };
}

/** `health_check DURATION [no_rec] [domain NAME]` */
function healthCheckOf(line: Line): HealthCheck {
  const [interval, ...options] = argumentsOf(line, { min: 1, max: 4 });
  let recursionDesired = true;
  let domain = root;
  for (let at = 0; at < options.length; at += 1) {
    if (oneOf(options[at]!, ['no_rec', 'domain']) === 'no_rec') {
      recursionDesired = false;
    } else {
      at += 1;
      if (options[at] === undefined) throw fault(options[at - 1]!, '"domain" names none');
      domain = nameOf(options[at]!);
    }
  }
  return { intervalMs: durationOf(interval!), recursionDesired, domain };
}

function rcodesOf(line: Line, withSuccess: boolean): number[] {
  return argumentsOf(line, { min: 1 }).map((token) => {
    const rcode = parseRcode(token.text);
    if (rcode !== undefined && (withSuccess || rcode !== RCODE.NOERROR)) return rcode;
    const found = rcode === undefined ? 'is not an rcode' : 'is no failure';
    throw fault(token, `"${token.text}" ${found}`);
  });
}

function addressOf(token: Token): string {
  if (familyOf(token.text) !== undefined) return token.text;
  throw fault(token, `"${token.text}" is not an IP address`);
}

/** Nothing, `CA`, `CERT KEY` or `CERT KEY CA`: paths of files that can be read. */
export function tlsFilesOf(tokens: readonly Token[]): TlsFiles {
  for (const token of tokens) readNamedFile(token);
  const paths = tokens.map(pathOf);
  if (paths.length === 1) return { ca: paths[0]! };
  const [cert, key, ca] = paths;
  return { ...(cert && { cert }), ...(key && { key }), ...(ca && { ca }) };
}

/** An address, or a file with `nameserver` lines such as /etc/resolv.conf. */
function serversOf(token: Token): readonly Server[] {
  const isScheme = token.text.includes('://');
  if (!isScheme && (/\/|\.conf$/.test(token.text) || existsSync(pathOf(token)))) {
    return fileServers(token);
  }
  try {
    return [parseServer(token.text)];
  } catch {
    throw fault(
      token,
      `"${token.text}" is neither an IP address nor a file`,
      'Write it like 192.0.2.1, 192.0.2.1:5353, tls://192.0.2.1 or /etc/resolv.conf',
    );
  }
}

function fileServers(token: Token): Server[] {
  const servers = parseResolvConf(readNamedFile(token)).map(parseServer);
  if (servers.length > 0) return servers;
  throw fault(token, `"${token.text}" names no nameserver`);
}
