/** The balancer's part on a node; loaded when the first Service needs it. */
import { resources } from '../../api/resources.ts';
import type { Service } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import type { Informers } from '../../client/informer.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { familyOf } from '../../lib/ip.ts';
import { providerOf, type ProviderName } from '../request.ts';
import { keepReturnPath, type ReturnPath } from './return-path.ts';

export type NodeBalancerOptions = {
  readonly client: Client;
  /** Services and EndpointSlices, shared with the proxy. */
  readonly informers: Informers;
  readonly nodeName: string;
  /** Who serves Services without a class. */
  readonly byDefault: ProviderName;
  readonly returnPath: ReturnPath;
  readonly log: Logger;
};

type Stop = () => void | Promise<void>;

/** Starts on the calling thread's network, which is the node's; the result stops it. */
export function startNodeBalancer(options: NodeBalancerOptions): () => Promise<void> {
  const { informers, byDefault, returnPath, log } = options;
  const stops = new Map<ProviderName, Promise<Stop | undefined>>();
  const start: Record<ProviderName, () => Promise<Stop>> = {
    edge: async () => keepReturnPath(returnPath, log),
    layer2: () => startSpeaker(options),
  };
  const off = informers.of<Service>(resources.services).onChange((_, service) => {
    const name = service && providerOf(service, byDefault);
    if (name === undefined || name === 'other' || stops.has(name)) return;
    const started = start[name]().catch((error: unknown) => {
      log.error({ balancer: name, error: messageOf(error) }, 'cannot balance here, will try again');
      // With the next change of such a Service.
      stops.delete(name);
      return undefined;
    });
    stops.set(name, started);
  });
  return async () => {
    off();
    for (const stop of await Promise.all(stops.values())) await stop?.();
  };
}

async function startSpeaker(options: NodeBalancerOptions): Promise<Stop> {
  const [{ Speaker }, { Answering }] = await Promise.all([
    import('../layer2/speaker.ts'),
    import('../layer2/answering.ts'),
  ]);
  const { link, ips } = options.returnPath;
  const answering = new Answering(
    link,
    ips.map((ip) => familyOf(ip)!),
  );
  const speaker = new Speaker({ ...options, answering });
  speaker.start();
  return () => speaker.stop();
}
