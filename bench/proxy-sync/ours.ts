/** Our proxy as a process of its own; tells its parent what it did when asked. */
import { createHttpClient } from '../../src/client/http-client.ts';
import { keepHeapSmall } from '../../src/lib/heap.ts';
import type { Sync } from '../../src/proxy/options.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { NODE, NODE_IP, POD_CIDR, SERVICE_CIDR } from './objects.ts';

export type Start = { readonly server: string; readonly ca: string };
/** Since the last question. */
export type Told = { readonly syncs: readonly Sync[] };

const log = {
  error: (fields: unknown, text: string) => console.error(text, fields),
  warn() {},
  info() {},
  debug() {},
};

process.once('SIGTERM', () => process.exit());
process.once('message', (message) => void run(message as Start));

async function run({ server, ca }: Start): Promise<void> {
  keepHeapSmall();
  let syncs: Sync[] = [];
  const client = createHttpClient({ server, ca });
  const proxy = await startProxy({
    client,
    nodeName: NODE,
    nodeIPs: [NODE_IP],
    detectLocal: { mode: 'ClusterCIDR', cidrs: [POD_CIDR] },
    serviceCidrs: [SERVICE_CIDR],
    log: log as never,
    onSync: (sync) => syncs.push(sync),
  });
  process.on('message', () => {
    process.send?.({ syncs } satisfies Told);
    syncs = [];
  });
  await proxy.ready;
  process.send?.('ready');
}
