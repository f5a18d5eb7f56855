/** Kernel settings of a pod's own namespaces (K8). */
import { writeSysctl } from '../../kernel/route/index.ts';
import { UserError } from '../../lib/errors.ts';
import { ownIds } from './rights.ts';

/**
 * The settings a kubelet counts as safe: they belong to a namespace, and no pod can harm another
 * with them (https://kubernetes.io/docs/tasks/administer-cluster/sysctl-cluster/).
 */
const safe: ReadonlySet<string> = new Set([
  'kernel.shm_rmid_forced',
  'net.ipv4.ip_local_port_range',
  'net.ipv4.ip_local_reserved_ports',
  'net.ipv4.ip_unprivileged_port_start',
  'net.ipv4.ping_group_range',
  'net.ipv4.tcp_fin_timeout',
  'net.ipv4.tcp_keepalive_intvl',
  'net.ipv4.tcp_keepalive_probes',
  'net.ipv4.tcp_keepalive_time',
  'net.ipv4.tcp_rmem',
  'net.ipv4.tcp_syncookies',
  'net.ipv4.tcp_wmem',
]);

type Sysctl = { readonly name: string; readonly value: string };

/** Throws a text for the pod's event when a setting is not one a pod may change. */
export function checkSysctls(sysctls: readonly Sysctl[], hostNetwork: boolean): void {
  for (const { name } of sysctls) {
    const dotted = name.replaceAll('/', '.');
    if (!safe.has(dotted)) throw forbidden(name, 'it is not on the list of safe ones');
    if (hostNetwork && dotted.startsWith('net.')) {
      throw forbidden(name, 'the pod shares the network of its node');
    }
  }
}

function forbidden(name: string, found: string): UserError {
  return new UserError('SYSCTL_FORBIDDEN', `Cannot set sysctl "${name}": ${found}`, {
    hint: `Safe ones are ${[...safe].join(', ')}`,
  });
}

/** Sets the defaults and then what the pod asks for, in the namespaces of the calling thread. */
export function applySysctls(sysctls: readonly Sysctl[]): void {
  // As containerd does, so that a pod needs no right to bind port 80 or to send pings.
  writeSysctl('net.ipv4.ip_unprivileged_port_start', 0);
  const everyone = ownIds().groups(2 ** 31 - 1) ? '0 2147483647' : '0 0';
  writeSysctl('net.ipv4.ping_group_range', everyone);
  for (const { name, value } of sysctls) writeSysctl(name, value);
}
