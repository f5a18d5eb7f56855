/** An address that is not on loopback, in the network of this process. */
import { execFileSync } from 'node:child_process';

import { ownAddress } from './cluster.ts';

export function ownAddressUp(): void {
  const ip = (line: string) => execFileSync('ip', line.split(' '));
  ip('link set lo up');
  ip('link add d0 type veth peer name d1');
  for (const name of ['d0', 'd1']) ip(`link set ${name} addrgenmode none up`);
  ip(`address add ${ownAddress}/32 dev d0`);
}
