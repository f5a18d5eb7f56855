/**
 * A lab's network on this host: a switch, a cable from it to the host, and per node a network and a UTS
 * namespace with a cable to the switch. Pods and virtual IPs are routed by way of the nodes.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setHostname } from '../kernel/ffi/process.ts';
import { isPinned, pinNamespace, unpinNamespace } from '../kernel/namespace/pin.ts';
import { fresh, within } from '../kernel/namespace/within.ts';
import {
  addAddress,
  addLink,
  addRoute,
  deleteLink,
  replaceRoute,
  RouteConnection,
  RT_TABLE_MAIN,
  setLink,
  writeSysctl,
} from '../kernel/route/index.ts';
import { assert } from '../lib/errors.ts';
import { parseCidr } from '../lib/ip.ts';
import {
  isOnNodeNetwork,
  type HostFacts,
  type LabBalancer,
  type LabConfig,
  type LabNode,
} from './config.ts';
import { balancerNamespace, nodeNamespaces, switchNamespace, type LabPaths } from './paths.ts';

/** The bridge in the switch. */
const bridge = 'bridge';

/** Every route of the host but the default ones: what a lab's ranges must not overlap. */
export function hostRoutes(): HostFacts['routes'] {
  using connection = new RouteConnection();
  const names = new Map(connection.links().map((link) => [link.index, link.name]));
  return connection.routes({ table: RT_TABLE_MAIN }).flatMap((route) => {
    const cidr = parseCidr(route.destination);
    // Every link has the link-local prefix; nobody routes by it.
    if (cidr === undefined || cidr.prefixLength === 0 || cidr.address === 'fe80::') return [];
    const index = route.linkIndex ?? route.nextHops?.[0]?.linkIndex ?? 0;
    return [{ cidr, device: names.get(index) ?? 'no link' }];
  });
}

/** Names that a lab's own links cannot have any more. */
export function hostLinks(): readonly string[] {
  using connection = new RouteConnection();
  return connection.links().map((link) => link.name);
}

/**
 * The switch: a bridge in a network namespace of its own, and a cable from there to the host. A bridge in the
 * host's namespace would have its frames pass the host's firewall, which drops them where Docker runs.
 */
export function createSwitch(lab: LabConfig, paths: LabPaths): void {
  const file = switchNamespace(paths);
  within({ net: fresh }, () => {
    pinNamespace('net', file);
    using connection = new RouteConnection();
    connection.apply(
      addLink({ name: bridge, kind: { kind: 'bridge' }, up: true }),
      'create a bridge',
    );
  });
  using connection = new RouteConnection();
  connection.apply(setLink('lo', { up: true }), 'set the loopback link up');
  plugIn(file, 'host', {
    netFile: '/proc/thread-self/ns/net',
    link: lab.hostLink,
    address: hostMac(lab),
  });
  connection.apply(setLink(lab.hostLink, { up: true }), `set link "${lab.hostLink}" up`);
  const linkIndex = indexOf(connection, lab.hostLink);
  lab.hostIPs.forEach((address, at) => {
    const prefixLength = prefixLengthOf(lab.nodeCidrs[at]!);
    connection.apply(
      addAddress({ linkIndex, address, prefixLength, noDad: true }),
      `give "${lab.hostLink}" address ${address}`,
    );
  });
  routeBalanced(connection, lab, linkIndex);
}

/** The balancer host: a machine on the switch that owns the addresses of LoadBalancer Services. */
export function createBalancerHost(lab: LabConfig, balancer: LabBalancer, paths: LabPaths): void {
  const file = balancerNamespace(paths);
  // What a start that was cut off has left: its cable goes with the namespace, in a moment.
  removeBalancerHost(paths);
  within({ net: fresh }, () => {
    pinNamespace('net', `${file}.new`);
    setForwarderSysctls(lab);
  });
  within({ net: switchNamespace(paths) }, () => {
    using connection = new RouteConnection();
    connection.ensure(deleteLink('balancer'), 'unplug an old balancer');
  });
  const link = { netFile: `${file}.new`, link: 'eth0', address: balancer.mac };
  plugIn(switchNamespace(paths), 'balancer', link);
  within({ net: `${file}.new` }, () => {
    const machine = { name: 'balancer', ips: balancer.ips };
    addressMachine(lab, machine);
    // Complete from its first moment under its name on.
    pinNamespace('net', file);
  });
  unpinNamespace(`${file}.new`);
}

/** Lets go of the balancer host; nothing when there is none. */
export function removeBalancerHost(paths: LabPaths): void {
  unpinNamespace(`${balancerNamespace(paths)}.new`);
  unpinNamespace(balancerNamespace(paths));
}

/** A node's namespaces, its link to the bridge, and the host's routes to its pods. */
export function createNode(lab: LabConfig, node: LabNode, paths: LabPaths): void {
  const namespaces = nodeNamespaces(paths, node.name);
  mkdirSync(dirname(namespaces.net), { recursive: true, mode: 0o755 });
  within({ net: fresh, uts: fresh }, () => {
    setHostname(node.name);
    pinNamespace('net', namespaces.net);
    pinNamespace('uts', namespaces.uts);
    setForwarderSysctls(lab);
  });
  plugIn(switchNamespace(paths), node.name, { netFile: namespaces.net, link: 'eth0' });
  within({ net: namespaces.net }, () => addressMachine(lab, node));
  routeToNode(lab, node);
}

/** Unplugs a node and lets go of its namespaces; nothing when there are none. */
export function removeNode(node: LabNode, paths: LabPaths): void {
  const file = switchNamespace(paths);
  if (isPinned(file)) {
    within({ net: file }, () => {
      using connection = new RouteConnection();
      connection.ensure(deleteLink(node.name), `unplug node "${node.name}"`);
    });
  }
  const namespaces = nodeNamespaces(paths, node.name);
  unpinNamespace(namespaces.net);
  unpinNamespace(namespaces.uts);
}

/** The cable goes, and with it the host's addresses and routes; then the switch. */
export function removeSwitch(lab: LabConfig, paths: LabPaths): void {
  using connection = new RouteConnection();
  connection.ensure(deleteLink(lab.hostLink), `delete link "${lab.hostLink}"`);
  unpinNamespace(switchNamespace(paths));
}

/** A cable from a port of the switch to a link in another namespace, which is down at first. */
function plugIn(
  switchFile: string,
  port: string,
  other: { readonly netFile: string; readonly link: string; readonly address?: string },
): void {
  const netnsFd = openSync(other.netFile, 'r');
  const { link, address } = other;
  const peer = { name: link, netnsFd, ...(address === undefined ? {} : { address }) };
  try {
    within({ net: switchFile }, () => {
      using connection = new RouteConnection();
      const masterIndex = indexOf(connection, bridge);
      connection.apply(
        addLink({ name: port, kind: { kind: 'veth', peer }, masterIndex, up: true }),
        `plug link "${link}" of "${port}" into the switch`,
      );
    });
  } finally {
    closeSync(netnsFd);
  }
}

function addressMachine(lab: LabConfig, node: Pick<LabNode, 'name' | 'ips'>): void {
  using connection = new RouteConnection();
  connection.apply(setLink('lo', { up: true }), `set the loopback of "${node.name}" up`);
  connection.apply(setLink('eth0', { up: true }), `set eth0 of "${node.name}" up`);
  const eth0 = indexOf(connection, 'eth0');
  node.ips.forEach((address, at) => {
    connection.apply(
      addAddress({
        linkIndex: eth0,
        address,
        prefixLength: prefixLengthOf(lab.nodeCidrs[at]!),
        noDad: true,
      }),
      `give "${node.name}" address ${address}`,
    );
    const destination = address.includes(':') ? '::/0' : '0.0.0.0/0';
    connection.apply(
      addRoute({ destination, linkIndex: eth0, via: lab.hostIPs[at]! }),
      `route "${node.name}" to the host`,
    );
  });
  routeBalanced(connection, lab, eth0);
  for (const other of lab.nodes) {
    if (other.name === node.name) continue;
    other.podCidrs.forEach((destination, at) =>
      connection.apply(
        addRoute({ destination, linkIndex: eth0, via: other.ips[at]! }),
        `route "${node.name}" to the pods of "${other.name}"`,
      ),
    );
  }
}

function routeToNode(lab: LabConfig, node: LabNode): void {
  using connection = new RouteConnection();
  const linkIndex = indexOf(connection, lab.hostLink);
  node.podCidrs.forEach((destination, at) =>
    connection.apply(
      replaceRoute({ destination, linkIndex, via: node.ips[at]! }),
      `route the host to the pods of "${node.name}"`,
    ),
  );
  if (node.name === lab.nodes[0]?.name) routeServices(lab, node);
}

/** Virtual IPs are reached by way of one node, as by a router outside a cluster. */
export function routeServices(lab: LabConfig, node: LabNode): void {
  using connection = new RouteConnection();
  const linkIndex = indexOf(connection, lab.hostLink);
  lab.serviceCidrs.forEach((destination, at) =>
    connection.apply(
      replaceRoute({ destination, linkIndex, via: node.ips[at]! }),
      'route the host to the Services',
    ),
  );
}

/** Whoever has an address of LoadBalancer Services answers for it on the switch. */
function routeBalanced(connection: RouteConnection, lab: LabConfig, linkIndex: number): void {
  for (const destination of lab.balancer?.cidrs ?? []) {
    if (isOnNodeNetwork(lab, destination)) continue;
    connection.apply(
      replaceRoute({ destination, linkIndex }),
      `route the addresses of LoadBalancer Services, ${destination}`,
    );
  }
}

/** A machine that forwards believes no shortcut: answers must come back through it. */
function setForwarderSysctls(lab: LabConfig): void {
  writeSysctl('net.ipv4.ip_forward', 1);
  // Else a client is refused at once six times, and then once a second (net/ipv4/icmp.c).
  writeSysctl('net.ipv4.icmp_ratelimit', 0);
  if (lab.families.includes('ipv6')) writeSysctl('net.ipv6.icmp.ratelimit', 0);
  for (const conf of ['all', 'default']) {
    writeSysctl(`net.ipv4.conf.${conf}.rp_filter`, 0);
    writeSysctl(`net.ipv4.conf.${conf}.send_redirects`, 0);
    writeSysctl(`net.ipv4.conf.${conf}.accept_redirects`, 0);
    if (!lab.families.includes('ipv6')) continue;
    writeSysctl(`net.ipv6.conf.${conf}.forwarding`, 1);
    writeSysctl(`net.ipv6.conf.${conf}.accept_redirects`, 0);
    writeSysctl(`net.ipv6.conf.${conf}.accept_ra`, 0);
  }
}

/** A fixed address, so that nodes keep it in mind when a lab comes back. */
function hostMac(lab: LabConfig): string {
  return `02:fa:1e:ad:00:${lab.index.toString(16).padStart(2, '0')}`;
}

function prefixLengthOf(cidr: string): number {
  return parseCidr(cidr)!.prefixLength;
}

function indexOf(connection: RouteConnection, name: string): number {
  const link = connection.link(name);
  assert(link !== undefined, `link ${name} exists`);
  return link.index;
}
