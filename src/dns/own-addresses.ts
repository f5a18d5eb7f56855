/** Where this server itself can be reached. */
import { existsSync } from 'node:fs';
import { networkInterfaces } from 'node:os';

import type { Logger } from '../lib/log.ts';
import type { Server } from './upstream/servers.ts';

/** The addresses that NS records give: those bound, or all but loopback when all are bound. */
export function ownAddresses(listen: readonly { readonly host: string }[]): string[] {
  const any = listen.some(({ host }) => host === '::' || host === '0.0.0.0');
  if (!any) return listen.map(({ host }) => host).filter((host) => !isLoopback(host));
  return Object.values(networkInterfaces())
    .flatMap((addresses) => addresses ?? [])
    .filter(({ internal, address }) => !internal && !address.startsWith('fe80:'))
    .map(({ address }) => address);
}

function isLoopback(host: string): boolean {
  return host === '::1' || host.startsWith('127.');
}

/** Asking ourselves would go round for ever: such an upstream is left out, and said so. */
export function withoutSelf(
  servers: readonly Server[],
  listen: readonly { readonly host: string; readonly port: number }[],
  log: Logger | undefined,
): Server[] {
  const own = new Set([...ownAddresses(listen), ...listen.map(({ host }) => host)]);
  const anyHost = listen.some(({ host }) => host === '::' || host === '0.0.0.0');
  const ports = new Set(listen.map(({ port }) => port));
  return servers.filter((server) => {
    const isSelf =
      ports.has(server.port) && (own.has(server.host) || (anyHost && isLoopback(server.host)));
    if (isSelf) log?.warn({ server }, 'upstream is this server itself, it is not used');
    return !isSelf;
  });
}

/** Both families where the kernel has both. */
export function anyHost(): string {
  return existsSync('/proc/net/if_inet6') ? '::' : '0.0.0.0';
}
