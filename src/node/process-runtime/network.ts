/**
 * A pod's network: one veth pair, routed. The pod's end has its addresses with full-length
 * prefixes and sends everything to its other end, whose link-layer address is the same everywhere;
 * the node has a route to each address. Neighbour entries are permanent: nobody asks, ever.
 */
import { createHash } from 'node:crypto';
import { closeSync, existsSync, openSync } from 'node:fs';
import {
  addLink,
  deleteLink,
  readSysctl,
  replaceAddress,
  replaceNeighbour,
  replaceRoute,
  RouteConnection,
  setLink,
  writeSysctl,
} from '../../kernel/route/index.ts';
import { within } from '../../kernel/namespace/within.ts';
import { bitsOf, familyOf } from '../../lib/ip.ts';

/** What the pod takes for its router; no host has these addresses, the node's end answers. */
const gateways = { ipv4: '169.254.1.1', ipv6: 'fe80::1' } as const;
const anywhere = { ipv4: '0.0.0.0/0', ipv6: '::/0' } as const;

/** The node's end of every pair, locally administered; it never meets another of its kind. */
const NODE_END_MAC = 'ee:ee:ee:ee:ee:ee';

/** The pod's link-layer address and the name of the node's end, both from the pod's uid. */
export function linkNames(podUid: string): { nodeEnd: string; podMac: string } {
  const hash = createHash('sha1').update(podUid).digest('hex');
  const octets = hash.slice(0, 10).match(/../g)!;
  // 15 characters is the most a link's name can have.
  return { nodeEnd: `veth${hash.slice(0, 11)}`, podMac: ['02', ...octets].join(':') };
}

export type PodNetwork = {
  readonly podUid: string;
  readonly podIPs: readonly string[];
  /** The pod's pinned network namespace. */
  readonly netns: string;
  readonly mtu: number;
};

/** Connects the pod with its node; repeating it changes nothing. */
export function connectPod(node: RouteConnection, pod: PodNetwork): void {
  const { nodeEnd, podMac } = linkNames(pod.podUid);
  const index = node.link(nodeEnd)?.index ?? makePair(node, pod);
  setNodeEnd(nodeEnd, pod.podIPs);
  // The kernel takes this for a link that exists, not while it makes one.
  const quiet = existsSync('/proc/sys/net/ipv6') ? { noLinkLocal: true } : {};
  node.apply(setLink(index, { ...quiet, up: true }), `bring up "${nodeEnd}"`);
  within({ net: pod.netns }, () => configurePodEnd(pod));
  for (const address of pod.podIPs) {
    const destination = `${address}/${bitsOf(familyOf(address)!)}`;
    const hop = { linkIndex: index, address, mac: podMac };
    node.apply(replaceNeighbour(hop), `tell where the pod address ${address} is`);
    const route = { destination, linkIndex: index, scope: 'link' } as const;
    node.apply(replaceRoute(route), `route to the pod address ${address}`);
  }
}

/** How long the kernel may take to remove a pair whose namespace has gone. */
const LINK_WAIT_MS = 2000;
const LINK_POLL_MS = 10;

/**
 * Resolves when the pair is gone. The kernel removes it with the pod's namespace, in the
 * background and many at a time; asked to delete a link it makes the caller wait for 30 ms.
 * The routes stay until then: connections that still say goodbye hold on to the namespace.
 */
export async function awaitNoLink(node: RouteConnection, podUid: string): Promise<void> {
  const { nodeEnd } = linkNames(podUid);
  for (let waitedMs = 0; waitedMs < LINK_WAIT_MS; waitedMs += LINK_POLL_MS) {
    if (node.link(nodeEnd) === undefined) return;
    await new Promise((resolve) => setTimeout(resolve, LINK_POLL_MS));
  }
  // Somebody else holds on to the namespace; the pod's link goes all the same.
  node.ensure(deleteLink(nodeEnd), `delete "${nodeEnd}"`);
}

function makePair(node: RouteConnection, pod: PodNetwork): number {
  const { nodeEnd, podMac } = linkNames(pod.podUid);
  // Made in the pod's namespace first, so that no moment exists in which the node has an "eth0".
  const netnsFd = openSync(pod.netns, 'r');
  try {
    const peer = { name: 'eth0', address: podMac, netnsFd, mtu: pod.mtu };
    const link = { name: nodeEnd, address: NODE_END_MAC, mtu: pod.mtu };
    node.apply(addLink({ ...link, kind: { kind: 'veth', peer } }), `make "${nodeEnd}"`);
  } finally {
    closeSync(netnsFd);
  }
  return node.link(nodeEnd)!.index;
}

function setNodeEnd(name: string, podIPs: readonly string[]): void {
  // A pod that reaches itself through a service address comes back out where it came in.
  writeSysctl(`net/ipv4/conf/${name}/rp_filter`, 0);
  writeSysctl(`net/ipv4/conf/${name}/send_redirects`, 0);
  if (podIPs.some(isIpv6)) writeSysctl(`net/ipv6/conf/${name}/accept_ra`, 0);
}

function configurePodEnd(pod: PodNetwork): void {
  using routes = new RouteConnection();
  if (existsSync('/proc/sys/net/ipv6')) {
    writeSysctl('net.ipv6.conf.eth0.accept_dad', 0);
    writeSysctl('net.ipv6.conf.eth0.accept_ra', 0);
  }
  const index = routes.link('eth0')!.index;
  routes.apply(setLink(index, { up: true }), 'bring up "eth0"');
  for (const address of pod.podIPs) {
    const family = familyOf(address)!;
    const prefixLength = bitsOf(family);
    const own = { linkIndex: index, address, prefixLength, noDad: true };
    routes.apply(replaceAddress(own), `give the pod the address ${address}`);
    const via = gateways[family];
    const hop = { linkIndex: index, address: via, mac: NODE_END_MAC };
    routes.apply(replaceNeighbour(hop), `tell the pod where ${via} is`);
    const route = { destination: anywhere[family], linkIndex: index, via, onlink: true };
    routes.apply(replaceRoute(route), 'give the pod its default route');
  }
}

/** Brings up the loopback of the namespace the thread is in. */
export function bringUpLoopback(): void {
  using routes = new RouteConnection();
  routes.apply(setLink('lo', { up: true }), 'bring up "lo"');
}

/** Settings without which a node does not pass its pods' packets on. */
export function prepareNode(): void {
  const wanted: Record<string, string> = {
    'net.ipv4.ip_forward': '1',
    'net.ipv4.conf.all.rp_filter': '0',
    'net.ipv4.conf.default.rp_filter': '0',
    'net.ipv4.conf.all.send_redirects': '0',
  };
  if (existsSync('/proc/sys/net/ipv6')) wanted['net.ipv6.conf.all.forwarding'] = '1';
  for (const [name, value] of Object.entries(wanted)) {
    if (readSysctl(name) !== value) writeSysctl(name, value);
  }
}

function isIpv6(address: string): boolean {
  return familyOf(address) === 'ipv6';
}
