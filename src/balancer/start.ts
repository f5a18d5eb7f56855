/** The balancer's part in the server process; loaded when the first Service needs it. */
import { resources } from '../api/resources.ts';
import type { Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import type { Informers } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import { startBalancerController, type BalancerController } from './controller.ts';
import { createEdge, type EdgeHost } from './edge/edge.ts';
import { createPool } from './pool.ts';
import type { Provider } from './provider.ts';
import type { ProviderName } from './request.ts';

export type BalancerOptions = {
  readonly client: Client;
  readonly informers: Informers;
  readonly byDefault: ProviderName;
  /** Prefixes to give addresses from. */
  readonly cidrs: readonly string[];
  /** Addresses in there that are somebody's already. */
  readonly reserved: readonly string[];
  readonly host: EdgeHost;
  readonly log: Logger;
  readonly clock?: Clock;
};

/** Nodes answer for the addresses by themselves (`layer2/speaker.ts`) once the status tells them. */
const layer2: Provider = {
  name: 'layer2',
  serve: () => undefined,
  release: () => undefined,
  settle: () => undefined,
  stop: () => undefined,
};

/** Starts controller and providers. */
export async function startBalancer(options: BalancerOptions): Promise<BalancerController> {
  const { client, informers, host, log, clock } = options;
  const time = clock === undefined ? {} : { clock };
  const edge = createEdge({ host, informers, log, ...time });
  informers.of<Service>(resources.services);
  await informers.start();
  return startBalancerController({
    client,
    informers,
    providers: [edge, layer2],
    byDefault: options.byDefault,
    pool: createPool(options.cidrs, options.reserved),
    log,
    ...time,
  });
}
