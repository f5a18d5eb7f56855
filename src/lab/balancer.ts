/** LoadBalancer Services of a lab: everything for them is loaded and made when the first one appears. */
import { resources } from '../api/resources.ts';
import type { Service } from '../api/types.ts';
import type { EdgeHost } from '../balancer/edge/edge.ts';
import type { Client } from '../client/client.ts';
import { Informers } from '../client/informer.ts';
import { isPinned } from '../kernel/namespace/pin.ts';
import { within } from '../kernel/namespace/within.ts';
import type { Logger } from '../lib/log.ts';
import { addressAt, bitsOf, parseCidr } from '../lib/ip.ts';
import type { LabBalancer, LabConfig } from './config.ts';
import { createBalancerHost } from './network.ts';
import { balancerNamespace, type LabPaths } from './paths.ts';

/** Waits for the first LoadBalancer Service; the result stops what was begun. */
export function watchForBalancer(options: {
  readonly lab: LabConfig;
  readonly paths: LabPaths;
  readonly client: Client;
  readonly log: Logger;
}): () => void {
  const { lab, paths, client, log } = options;
  const { balancer } = lab;
  const informers = new Informers({ client, log });
  if (balancer === undefined) return () => undefined;
  const services = informers.of<Service>(resources.services);
  let stop = () => informers.stop();
  let started = false;
  services.onChange((_, current) => {
    if (started || current === undefined || !concerns(current)) return;
    started = true;
    void import('../balancer/start.ts').then(async ({ startBalancer }) => {
      const controller = await startBalancer({
        client,
        informers,
        byDefault: balancer.kind,
        cidrs: balancer.cidrs,
        reserved: edgesOf(lab.nodeCidrs),
        host: hostOf(lab, balancer, paths),
        log,
      });
      stop = () => {
        controller.stop();
        informers.stop();
      };
    });
  });
  services.start();
  return () => stop();
}

/** A node's part, from the first such Service on; the result stops what was begun. */
export function watchOnNode(options: {
  readonly lab: LabConfig;
  readonly nodeName: string;
  readonly client: Client;
  readonly informers: Informers;
  readonly log: Logger;
}): () => Promise<void> {
  const { lab, informers } = options;
  const { balancer } = lab;
  if (balancer === undefined) return async () => undefined;
  let stop: Promise<() => Promise<void>> | undefined;
  const off = informers.of<Service>(resources.services).onChange((_, current) => {
    if (stop !== undefined || current?.spec.type !== 'LoadBalancer') return;
    stop = import('../balancer/node/start.ts').then(({ startNodeBalancer }) =>
      startNodeBalancer({
        ...options,
        byDefault: balancer.kind,
        returnPath: { link: 'eth0', ...balancer },
      }),
    );
  });
  return async () => {
    off();
    await (
      await stop
    )?.();
  };
}

/** As `isOurBusiness` of the controller, which is not loaded yet. */
function concerns({ spec, metadata }: Service): boolean {
  return spec.type === 'LoadBalancer' || (metadata.finalizers?.length ?? 0) > 0;
}

function hostOf(lab: LabConfig, balancer: LabBalancer, paths: LabPaths): EdgeHost {
  const file = balancerNamespace(paths);
  return {
    link: 'eth0',
    ips: balancer.ips,
    create() {
      if (!isPinned(file)) createBalancerHost(lab, balancer, paths);
    },
    enter: (work) => within({ net: file }, work),
  };
}

/** An IPv4 network's own address and its broadcast address. */
function edgesOf(cidrs: readonly string[]): string[] {
  return cidrs.flatMap((text) => {
    const cidr = parseCidr(text)!;
    if (cidr.family === 'ipv6') return [cidr.address];
    const last = 2 ** (bitsOf('ipv4') - cidr.prefixLength) - 1;
    return [cidr.address, addressAt(cidr, last)];
  });
}
