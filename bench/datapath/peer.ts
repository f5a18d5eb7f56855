/** A pod: a server that answers bytes, or a client that asks when told to, a line of JSON each. */
import { createInterface } from 'node:readline';
import {
  closeFd,
  exchange,
  open,
  serve,
  sockaddr,
  type Address,
  type Protocol,
} from './sockets.ts';

export type Task = {
  /** A connection for each exchange, or one for all. For UDP a new port is a new flow. */
  readonly how: 'short' | 'kept';
  readonly protocol: Protocol;
  readonly address: Address;
  readonly count: number;
};

/** How long each exchange took, microseconds. */
export type Done = { readonly samples: readonly number[] };

function run({ how, protocol, address, count }: Task): Done {
  const to = sockaddr(address);
  const samples: number[] = [];
  let fd = how === 'kept' ? open(protocol, to) : -1;
  // The first one of a kept connection is no sample of it.
  if (fd >= 0) exchange(fd);
  for (let at = 0; at < count; at += 1) {
    const startedAt = performance.now();
    if (how === 'short') fd = open(protocol, to);
    exchange(fd);
    if (how === 'short') closeFd(fd);
    samples.push((performance.now() - startedAt) * 1000);
  }
  if (how === 'kept') closeFd(fd);
  return { samples };
}

const [role = '', host = '', port = ''] = process.argv.slice(2);
if (role === 'tcp' || role === 'udp') serve(role, { host, port: Number(port) });
const lines = createInterface(process.stdin);
lines.on('line', (line) => console.log(JSON.stringify(run(JSON.parse(line) as Task))));
lines.on('close', () => process.exit());
console.log('serving');
