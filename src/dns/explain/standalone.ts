/** The stages of a server without its sockets: the zones of a cluster as its API has them now. */
import type { Client } from '../../client/client.ts';
import { systemClock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import { makeBlock } from '../blocks.ts';
import { configurationOf } from '../config/from-options.ts';
import { DnsCounters } from '../counters.ts';
import { dnsLimits } from '../limits.ts';
import { KubernetesStage } from '../plugins/kubernetes.ts';
import type { PodRecords } from '../zone/zones.ts';
import type { Server } from './trace.ts';

export type Standalone = Server & { stop(): void };

/** Reads the cluster; names outside it are refused. The caller stops it. */
export async function startStandalone(
  client: Client,
  { domain, podRecords }: { readonly domain: string; readonly podRecords: PodRecords },
): Promise<Standalone> {
  const listen = [{ host: '127.0.0.1', port: 0 }];
  const { blocks } = configurationOf({ domain, podRecords, listen, upstreams: [] });
  const block = await makeBlock(blocks[0]!, {
    clientFor: () => client,
    counters: new DnsCounters(),
    clock: systemClock,
    hostSearch: [],
    random: Math.random,
    log: undefined,
    print: () => undefined,
  });
  const stop = () => block.stages.forEach((stage) => void stage.stop?.());
  const { promise: late, resolve } = Promise.withResolvers<'late'>();
  const cancel = systemClock.after(dnsLimits.explainSyncMs, () => resolve('late'));
  const outcome = await Promise.race([block.synced, late]);
  cancel();
  if (outcome === 'late') {
    stop();
    throw new WorldError(
      'DNS_UNSYNCED',
      `Cannot read the cluster's Services: the API server does not give them in ${dnsLimits.explainSyncMs} ms`,
    );
  }
  const stage = block.stages.find((one) => one instanceof KubernetesStage);
  return { resolve: block.chain, zones: stage?.onlyZones, stop };
}
