/**
 * A lab's network on this host: one bridge with the host's address on it, and per node a network
 * and a UTS namespace with a veth pair to the bridge. Pods and virtual IPs are routed by way of the nodes.
 */
import { closeSync, mkdirSync, openSync } from 'node:fs';
import { dirname } from 'node:path';
import { setHostname } from '../kernel/ffi/process.ts';
import { pinNamespace, unpinNamespace } from '../kernel/namespace/pin.ts';
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
import { hostLink, type HostFacts, type LabConfig, type LabNode } from './config.ts';
import { nodeNamespaces, type LabPaths } from './paths.ts';

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

/** The bridge, the host's addresses on it, and the loopback where a private network has it down. */
export function createBridge(lab: LabConfig): void {
  using connection = new RouteConnection();
  connection.apply(setLink('lo', { up: true }), 'set the loopback link up');
  connection.apply(
    addLink({ name: lab.bridge, kind: { kind: 'bridge' }, up: true, address: bridgeMac(lab) }),
    `create bridge "${lab.bridge}"`,
  );
  const bridge = indexOf(connection, lab.bridge);
  lab.hostIPs.forEach((address, at) => {
    connection.apply(
      addAddress({
        linkIndex: bridge,
        address,
        prefixLength: prefixLengthOf(lab.nodeCidrs[at]!),
        noDad: true,
      }),
      `give "${lab.bridge}" address ${address}`,
    );
  });
}

/** A node's namespaces, its link to the bridge, and the host's routes to its pods. */
export function createNode(lab: LabConfig, node: LabNode, paths: LabPaths): void {
  const namespaces = nodeNamespaces(paths, node.name);
  mkdirSync(dirname(namespaces.net), { recursive: true, mode: 0o755 });
  within({ net: fresh, uts: fresh }, () => {
    setHostname(node.name);
    pinNamespace('net', namespaces.net);
    pinNamespace('uts', namespaces.uts);
    setNodeSysctls(lab);
  });
  connectNode(lab, node, namespaces.net);
  within({ net: namespaces.net }, () => addressNode(lab, node));
  routeToNode(lab, node);
}

/** Unplugs a node and lets go of its namespaces; nothing when there are none. */
export function removeNode(lab: LabConfig, node: LabNode, paths: LabPaths): void {
  using connection = new RouteConnection();
  connection.ensure(
    deleteLink(hostLink(lab.index, node)),
    `delete link "${hostLink(lab.index, node)}"`,
  );
  const namespaces = nodeNamespaces(paths, node.name);
  unpinNamespace(namespaces.net);
  unpinNamespace(namespaces.uts);
}

/** The bridge goes, and with it the host's addresses and routes. */
export function removeBridge(lab: LabConfig): void {
  using connection = new RouteConnection();
  connection.ensure(deleteLink(lab.bridge), `delete bridge "${lab.bridge}"`);
}

function connectNode(lab: LabConfig, node: LabNode, netFile: string): void {
  using connection = new RouteConnection();
  const netnsFd = openSync(netFile, 'r');
  try {
    const kind = { kind: 'veth', peer: { name: 'eth0', netnsFd } } as const;
    const masterIndex = indexOf(connection, lab.bridge);
    connection.apply(
      addLink({ name: hostLink(lab.index, node), kind, masterIndex, up: true }),
      `connect node "${node.name}" to "${lab.bridge}"`,
    );
  } finally {
    closeSync(netnsFd);
  }
}

function addressNode(lab: LabConfig, node: LabNode): void {
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
  const linkIndex = indexOf(connection, lab.bridge);
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
  const linkIndex = indexOf(connection, lab.bridge);
  lab.serviceCidrs.forEach((destination, at) =>
    connection.apply(
      replaceRoute({ destination, linkIndex, via: node.ips[at]! }),
      'route the host to the Services',
    ),
  );
}

/** A node forwards for its pods, and believes no shortcut: answers must come back through it. */
function setNodeSysctls(lab: LabConfig): void {
  writeSysctl('net.ipv4.ip_forward', 1);
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

/** A fixed address, so that the bridge does not take another one with each port that joins. */
function bridgeMac(lab: LabConfig): string {
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
