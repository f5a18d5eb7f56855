/** Keeps the rules of a node: one service proxy, started anew when what the Node says has changed. */
import { isDeepStrictEqual } from 'node:util';
import type { Node } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import type { Informer } from '../../client/informer.ts';
import type { Clock } from '../../lib/clock.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import type { DetectLocal, Proxy, ProxyObserver } from '../options.ts';
import { startProxy } from '../service-proxy.ts';
import type { ProxyConfig } from './fields.ts';
import { nodeAddresses, type NodeAddresses } from './node-facts.ts';

export type ServeOptions = {
  readonly client: Client;
  readonly config: ProxyConfig;
  readonly nodeName: string;
  /** The node's own object alone, followed by the caller. */
  readonly nodes: Informer<Node>;
  readonly families: readonly IpFamily[];
  readonly observer: ProxyObserver | undefined;
  readonly clock: Clock;
  readonly log: Logger;
};

export type Serving = {
  /** The proxy at work now. */
  readonly proxy: () => Proxy;
  /** Settles when the rules are in place for the first time, by whichever proxy is at work then. */
  readonly ready: Promise<void>;
  /** Rules and connections stay. */
  readonly stop: () => Promise<void>;
};

/** Settles when the first proxy has begun; its rules may come later. */
export async function serve(options: ServeOptions): Promise<Serving> {
  const { nodes, nodeName, config, log } = options;
  let node = nodeAddresses(nodes.get({ name: nodeName }), config.bindAddress);
  const { promise: ready, resolve: settleReady } = Promise.withResolvers<void>();
  const begin = async (addresses: NodeAddresses): Promise<Proxy> => {
    const begun = await startFor(options, addresses);
    void begun.ready.then(settleReady);
    return begun;
  };
  let proxy = await begin(node);
  let last: Promise<unknown> = Promise.resolve();
  let stopped = false;
  // kube-proxy ends itself when its node's addresses change (P131); here only the planning does.
  const undo = nodes.onChange((_, current) => {
    const next = nodeAddresses(current, config.bindAddress);
    if (current === undefined || isDeepStrictEqual(next, node)) return;
    node = next;
    log.info({ addresses: next.addresses }, "the node's addresses changed: planning anew");
    last = last.then(async () => {
      if (stopped) return;
      await proxy.stop();
      proxy = await begin(next);
    });
  });
  return {
    proxy: () => proxy,
    ready,
    async stop() {
      stopped = true;
      undo();
      await last;
      await proxy.stop();
    },
  };
}

function startFor(options: ServeOptions, node: NodeAddresses): Promise<Proxy> {
  const { client, config, nodeName, nodes, families, observer, clock, log } = options;
  const serviceCidrs = config['fairlead.serviceCIDRs'];
  return startProxy({
    client,
    nodeName,
    nodeIPs: node.addresses,
    nodePortAddresses: config.nodePortAddresses,
    detectLocal: detectLocalOf(config),
    ...(serviceCidrs.length > 0 ? { serviceCidrs } : {}),
    masqueradeAll: config['nftables.masqueradeAll'],
    masqueradeBit: config['nftables.masqueradeBit'],
    balancing: config['fairlead.balancing'],
    minSyncPeriodMs: config['nftables.minSyncPeriod'],
    syncPeriodMs: config['nftables.syncPeriod'],
    families,
    nodes,
    ...(observer === undefined ? {} : { observer }),
    clock,
    log,
  });
}

function detectLocalOf(config: ProxyConfig): DetectLocal {
  const { detectLocalMode: mode } = config;
  if (mode === 'ClusterCIDR') return { mode, cidrs: config.clusterCIDR };
  if (mode === 'NodeCIDR') return { mode };
  return mode === 'BridgeInterface'
    ? { mode, bridge: config['detectLocal.bridgeInterface'] }
    : { mode, prefix: config['detectLocal.interfaceNamePrefix'] };
}
