/** The API server: HTTPS in front of a store, and the same API for callers in the process. */
import { resources } from '../api/resources.ts';
import { failure } from '../api/status.ts';
import type { Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { type Clock, systemClock } from '../lib/clock.ts';
import { UserError } from '../lib/errors.ts';
import { parseCidr } from '../lib/ip.ts';
import type { Store } from '../store/store.ts';
import type { PortRange } from './allocation/port-allocator.ts';
import { ServiceAllocator } from './allocation/service-allocator.ts';
import { type Advertise, bootstrap } from './bootstrap.ts';
import type { ApiContext } from './context.ts';
import { createLocalClient } from './local-client.ts';

export type ApiServerOptions = {
  readonly store: Store;
  /** One or two prefixes, such as `10.96.0.0/16`; the first one's family is the default. */
  readonly serviceCidrs: readonly string[];
  readonly nodePortRange?: PortRange;
  /** Where pods reach this server; absent: no endpoints for `default/kubernetes`. */
  readonly advertise?: Advertise;
  readonly clock?: Clock;
};

export type ApiServer = {
  /** The same API without HTTP, on shared frozen objects. */
  readonly client: Client;
  close(): Promise<void>;
};

const NODE_PORTS: PortRange = { first: 30_000, last: 32_767 };

/** Brings the API up: first the objects every cluster has, then the listeners. The caller owns the store. */
export async function startApiServer(options: ApiServerOptions): Promise<ApiServer> {
  const { store, clock = systemClock } = options;
  const serviceCidrs = options.serviceCidrs.map((text) => {
    const cidr = parseCidr(text);
    if (cidr !== undefined) return cidr;
    throw new UserError('SERVICE_CIDR', `Cannot use service range "${text}": it is no prefix`, {
      hint: 'Give a prefix such as 10.96.0.0/16',
    });
  });
  const nodePortRange = options.nodePortRange ?? NODE_PORTS;
  const allocator = new ServiceAllocator({ serviceCidrs, nodePortRange });
  allocator.restore(store.list(resources.services).map(({ object }) => object as Service));
  const context: ApiContext = {
    store,
    clock,
    allocator,
    issueToken: () => Promise.reject(failure(501, 'NotImplemented', 'no tokens yet')),
  };
  const client = createLocalClient(context);
  const { advertise } = options;
  await bootstrap(client, { serviceCidrs, ...(advertise === undefined ? {} : { advertise }) });
  return { client, close: async () => undefined };
}
