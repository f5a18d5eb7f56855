/** What the proxy takes from its Node object, and how long it waits for it (P131). */
import { existsSync } from 'node:fs';
import type { Node } from '../../api/types.ts';
import type { Informer } from '../../client/informer.ts';
import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import { canonicalIp, familyOf, type IpFamily } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import { podCidrsOf } from '../local-detection.ts';
import type { ProxyConfig } from './fields.ts';

const ADDRESSES_WAIT_MS = 30_000;
const POD_CIDRS_WAIT_MS = 300_000;

export type NodeAddresses = {
  readonly primary: IpFamily;
  /** At most one of each family, the primary one first; those of loopback when nothing is known. */
  readonly addresses: readonly string[];
};

/** What a node has that knows none of its own addresses. */
export const LOOPBACK: readonly string[] = ['127.0.0.1', '::1'];

/** The node's own addresses as kubelet would give them to pods of the host network. */
export function hostAddresses(node: Node | undefined): string[] {
  const listed = node?.status?.addresses ?? [];
  const all = ['InternalIP', 'ExternalIP'].flatMap((type) =>
    listed.filter((one) => one.type === type).map((one) => canonicalIp(one.address)),
  );
  const [first, ...others] = all.filter((address) => address !== undefined);
  if (first === undefined) return [];
  const second = others.find((address) => familyOf(address) !== familyOf(first));
  return second === undefined ? [first] : [first, second];
}

/** `bindAddress` takes the place of the primary address, and makes its family the primary one. */
export function nodeAddresses(node: Node | undefined, bindAddress: string): NodeAddresses {
  const found = hostAddresses(node);
  const bound = isUnspecified(bindAddress) ? undefined : bindAddress;
  const primary = familyOf(bound ?? found[0] ?? '') ?? 'ipv4';
  const others = found.filter((address) => bound === undefined || familyOf(address) !== primary);
  const addresses = bound === undefined ? others : [bound, ...others];
  return { primary, addresses: addresses.length === 0 ? LOOPBACK : addresses };
}

/** Families the machine can serve, the primary one first. Throws when the primary one is not among them (P137). */
export function usableFamilies(
  primary: IpFamily,
  ipv6Proof = '/proc/net/if_inet6',
): readonly IpFamily[] {
  const ipv6 = existsSync(ipv6Proof);
  if (!ipv6 && primary === 'ipv6') {
    const text = 'Cannot start the proxy: the node is IPv6 first, and this machine has no IPv6';
    throw new WorldError('PROXY_FAMILY', text);
  }
  if (!ipv6) return ['ipv4'];
  return primary === 'ipv4' ? ['ipv4', 'ipv6'] : ['ipv6', 'ipv4'];
}

export type WaitOptions = {
  readonly nodes: Informer<Node>;
  readonly nodeName: string;
  readonly config: ProxyConfig;
  readonly clock: Clock;
  readonly log: Logger;
};

/**
 * Settles once the node has what is needed. Without addresses it goes on after half a minute; in
 * mode NodeCIDR pod prefixes are needed, and their absence is an error after five minutes.
 */
export async function waitForNode(options: WaitOptions): Promise<Node | undefined> {
  const { nodes, nodeName, config, log } = options;
  await nodes.synced;
  const has = (found: (node: Node | undefined) => readonly string[]) => (node: Node | undefined) =>
    found(node).length > 0;
  let node = await waitFor(options, has(hostAddresses), ADDRESSES_WAIT_MS);
  if (!has(hostAddresses)(node)) {
    const known = node === undefined ? 'is not known to the API server' : 'has no addresses';
    log.error({ node: nodeName }, `the node ${known}: going on without, as on loopback alone`);
  }
  if (config.detectLocalMode !== 'NodeCIDR') return node;
  node = await waitFor(options, has(podCidrsOf), POD_CIDRS_WAIT_MS);
  if (has(podCidrsOf)(node)) return node;
  const text = `Cannot start the proxy: node "${nodeName}" was given no range for pods in time, which detectLocalMode NodeCIDR needs`;
  throw new WorldError('PROXY_NODE', text);
}

async function waitFor(
  { nodes, nodeName, clock }: WaitOptions,
  enough: (node: Node | undefined) => boolean,
  limitMs: number,
): Promise<Node | undefined> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const check = () => {
    if (enough(nodes.get({ name: nodeName }))) resolve();
  };
  const undo = nodes.onChange(check);
  const cancel = clock.after(limitMs, resolve);
  check();
  await promise;
  undo();
  cancel();
  return nodes.get({ name: nodeName });
}

function isUnspecified(address: string): boolean {
  return address === '0.0.0.0' || address === '::';
}
