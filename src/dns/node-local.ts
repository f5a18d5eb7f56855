/** A cache for the pods of one node, in front of the cluster's DNS: `fairlead dns --node-local`. */
import { networkInterfaces } from 'node:os';

import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { familyOf, formatHostPort } from '../lib/ip.ts';

/** Where node-local caches listen by convention: the same address on every node. */
export const nodeLocalAddress = '169.254.20.10';

export type NodeLocalOptions = {
  readonly domain: string;
  readonly host: string;
  readonly port: number;
  /** The cluster's DNS, asked over TCP. */
  readonly clusterDns: readonly string[];
  /** Servers for all other names; empty: those names are refused. */
  readonly upstreams: readonly string[];
  readonly lameDuckSeconds: number;
  /** Ports of /health and /metrics; 0: no such page. */
  readonly healthPort: number;
  readonly metricsPort: number;
};

/**
 * The configuration, as the Corefile of NodeLocal DNSCache has it, and what that leaves out: an expired
 * answer is better than none, and what is asked often is fetched before it expires. A second is
 * less than any resolver waits.
 */
export function nodeLocalCorefile(options: NodeLocalOptions): string {
  const { domain, host, clusterDns, upstreams, lameDuckSeconds } = options;
  const { healthPort, metricsPort } = options;
  const pages = [
    ...(healthPort === 0
      ? []
      : [`health ${formatHostPort(host, healthPort)} {\n    lameduck ${lameDuckSeconds}s\n  }`]),
    ...(metricsPort === 0 ? [] : [`prometheus ${formatHostPort(host, metricsPort)}`]),
  ];
  const stale = ['prefetch 5 1m 20%', 'serve_stale 1h verify 1s 5s 5s'];
  const cluster = [
    `bind ${host}`,
    'errors',
    ...pages,
    `cache {\n    success 9984 30\n    denial 9984 5\n    ${stale.join('\n    ')}\n  }`,
    `forward . ${clusterDns.join(' ')} {\n    force_tcp\n  }`,
    'loop',
  ];
  const others = [
    `bind ${host}`,
    'errors',
    `cache 30 {\n    ${stale.join('\n    ')}\n  }`,
    ...(upstreams.length === 0 ? [] : [`forward . ${upstreams.join(' ')}`, 'loop']),
  ];
  return `${block([domain, 'in-addr.arpa', 'ip6.arpa'], cluster)}\n${block(['.'], others)}`;
}

function block(zones: readonly string[], lines: readonly string[]): string {
  return `${zones.join(' ')} {\n  ${lines.join('\n  ')}\n}\n`;
}

/**
 * Gives loopback the address, if no link has it: it is the same on every node and never leaves one. It
 * stays when the process ends, so that the next one can take over.
 */
export async function prepareNode(host: string, log: Logger): Promise<void> {
  const { addAddress, RouteConnection, writeSysctl } = await import('../kernel/route/index.ts');
  try {
    // Connections that wait at a listener go to the next process instead of being reset (kernel ≥ 5.14).
    writeSysctl('net.ipv4.tcp_migrate_req', 1);
  } catch (error) {
    log.info({ error: messageOf(error) }, 'TCP connections that wait at a restart will be reset');
  }
  const links = Object.values(networkInterfaces()).flatMap((found) => found ?? []);
  if (links.some(({ address }) => address === host)) return;
  if (host === '::' || host === '0.0.0.0') return;
  using routes = new RouteConnection();
  const prefixLength = familyOf(host) === 'ipv6' ? 128 : 32;
  const { index: linkIndex } = routes.link('lo')!;
  routes.ensure(
    addAddress({ linkIndex, address: host, prefixLength, scope: 'host', noDad: true }),
    `give this node the address "${host}"`,
  );
  log.info({ address: host }, 'address added to loopback');
}
