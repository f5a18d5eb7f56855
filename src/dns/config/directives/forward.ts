/** `forward FROM TO… { … }`; several of one block are asked in the order they stand in. */
import { existsSync } from 'node:fs';

import { dnsLimits } from '../../limits.ts';
import { parseResolvConf, parseServer, type Server } from '../../upstream/servers.ts';
import {
  argumentOf,
  argumentsOf,
  flagOf,
  numberOf,
  oneOf,
  pathOf,
  readNamedFile,
  readProperties,
  zonesOf,
} from '../arguments.ts';
import type { Line } from '../parse.ts';
import { fault, type Token } from '../tokens.ts';
import type { ForwardSettings } from '../types.ts';
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
    from: zones[0]!,
    servers: to.flatMap(serversOf),
    except: [],
    policy: 'random',
    maxConcurrent: dnsLimits.upstreamQueriesMax,
  };
  if (found.servers.length > dnsLimits.upstreamsMax) {
    const found = `more than ${dnsLimits.upstreamsMax} servers to forward to`;
    throw fault(to[0]!, found);
  }
  readProperties(line, {
    except: (inner) =>
      (found.except = [...found.except, ...argumentsOf(inner, { min: 1 }).flatMap(zonesOf)]),
    policy: (inner) =>
      (found.policy = oneOf(argumentOf(inner), ['random', 'round_robin', 'sequential'])),
    max_concurrent: (inner) => {
      const count = numberOf(argumentOf(inner), {});
      found.maxConcurrent = count === 0 ? Infinity : count;
    },
    prefer_udp: (inner) => {
      // What this server does anyway: UDP first, TCP for what does not fit.
      flagOf(inner);
    },
  });
  return found;
}

/** An address, or a file with `nameserver` lines such as /etc/resolv.conf. */
function serversOf(token: Token): readonly Server[] {
  if (/^[\w.-]*\/|\.conf$/.test(token.text) || existsSync(pathOf(token))) {
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
