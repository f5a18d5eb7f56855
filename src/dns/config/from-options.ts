/** The configuration of a server that is told what to do by flags. */
import { foldCase, parseName, root, type Name } from '../wire/name.ts';
import type { PodRecords } from '../zone/zones.ts';
import { dnsLimits } from '../limits.ts';
import type { Server } from '../upstream/servers.ts';
import { defaultForward } from './default-forward.ts';
import type { CacheSettings, Configuration, HostPort } from './types.ts';
import { UserError } from '../../lib/errors.ts';

export type ServeOptions = {
  /** The cluster domain, such as `cluster.local`. */
  readonly domain: string;
  /** Each over UDP and TCP. Port 0 lets the kernel choose one, the same for both. */
  readonly listen: readonly HostPort[];
  /** Servers for all other names; none: those names are refused. */
  readonly upstreams: readonly Server[];
  /** Domains with servers of their own. */
  readonly stubDomains?: readonly { readonly zone: Name; readonly servers: readonly Server[] }[];
  readonly ttlSeconds?: number;
  readonly podRecords?: PodRecords;
  readonly strictCoredns?: boolean;
  /** Absent: no such page. */
  readonly health?: HostPort;
  readonly ready?: HostPort;
  readonly metrics?: HostPort;
  readonly lameDuckMs?: number;
  /** Asks upstream a question that only a loop brings back; on unless false. */
  readonly loopProbe?: boolean;
};

const reverseZones = ['in-addr.arpa', 'ip6.arpa'].map((zone) => parseName(zone)!);

/** One block for everything, as kubeadm's Corefile has it. */
export function configurationOf(options: ServeOptions): Configuration {
  const { upstreams, health, ready, metrics } = options;
  const domain = parseName(options.domain);
  if (domain === undefined || domain === root) {
    throw new UserError(
      'BAD_DNS_DOMAIN',
      `Cannot serve cluster domain "${options.domain}": it is not a domain name`,
      { hint: 'A cluster domain looks like cluster.local' },
    );
  }
  const stubs = (options.stubDomains ?? []).map(({ zone, servers }) => {
    return { ...defaultForward, from: foldCase(zone), servers };
  });
  const rest = { ...defaultForward, from: root, servers: upstreams };
  const forward = upstreams.length > 0 ? [...stubs, rest] : stubs;
  const outside = forward.length > 0;
  return {
    blocks: [
      {
        sites: options.listen.map((at) => ({ zone: root, scheme: 'dns', ...at })),
        plugins: {
          errors: { consolidate: [] },
          loadbalance: { weights: undefined, prefer: [] },
          kubernetes: {
            zones: [foldCase(domain), ...reverseZones],
            ttlSeconds: options.ttlSeconds ?? 30,
            podRecords: options.podRecords ?? 'insecure',
            fallthrough: outside ? reverseZones : [],
            strictCoredns: options.strictCoredns ?? false,
            startupTimeoutMs: dnsLimits.startupTimeoutMs,
            api: {},
          },
          ...(outside ? { cache: cache(), forward } : {}),
          ...(outside && options.loopProbe !== false ? { loop: { zone: root } } : {}),
          ...(health && { health: { at: health, lameDuckMs: options.lameDuckMs ?? 0 } }),
          ...(ready && { ready: { at: ready, monitor: 'until-ready' } }),
          ...(metrics && { prometheus: { at: metrics } }),
        },
      },
    ],
  };
}

/** As `cache 30`. */
function cache(): CacheSettings {
  const { success, denial, failureSeconds } = dnsLimits.cache;
  return {
    zones: [root],
    success: { ...success, ttlSecondsMax: 30 },
    denial: { ...denial, ttlSecondsMax: 30 },
    failureSeconds,
  };
}
