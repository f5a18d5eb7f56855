/** Which addresses of a node answer on node ports (P30-P36). Pure. */
import { bitsOf, cidrContains, familyOf, parseCidr, type Cidr, type IpFamily } from '../lib/ip.ts';
import { normalCidr } from '../plan/address.ts';

/** A node as far as its addresses go. */
export type NodeAddresses = {
  /** The primary ones, at most one per family. */
  readonly nodeIPs: readonly string[];
  /** All that its interfaces have. */
  readonly interfaceAddresses: readonly string[];
};

export type NodePortChoice = {
  /** Those that answer; never loopback ones. */
  readonly addresses: readonly string[];
  /** Loopback addresses that were asked for by name: a forwarder in user space serves them. */
  readonly loopback: readonly string[];
  /** What may surprise whoever wrote the configuration. */
  readonly warnings: readonly string[];
};

const FAMILIES = [
  { family: 'ipv4', name: 'IPv4', loopback: parseCidr('127.0.0.0/8')! },
  { family: 'ipv6', name: 'IPv6', loopback: parseCidr('::1/128')! },
] as const;

/** `asked` is what the configuration says: `primary`, or prefixes; nothing means `primary`. */
export function chooseNodePortAddresses(
  asked: readonly string[],
  node: NodeAddresses,
): NodePortChoice {
  const { cidrs, unreadable } = prefixesOf(asked.length === 0 ? ['primary'] : asked, node.nodeIPs);
  const warnings = unreadable.map((text) => `"${text}" is no prefix, and is left out`);
  const addresses: string[] = [];
  const loopback: string[] = [];
  for (const { family, name, loopback: range } of FAMILIES) {
    const mine = cidrs.filter((cidr) => cidr.family === family);
    if (mine.length === 0) {
      warnings.push(`no ${name} address is chosen, so node ports answer on all of them`);
    }
    const all = mine.length === 0 || mine.some((cidr) => cidr.prefixLength === 0);
    const named = mine.filter((cidr) => cidrContains(range, cidr.address));
    for (const address of new Set(node.interfaceAddresses)) {
      if (familyOf(address) !== family) continue;
      if (cidrContains(range, address)) {
        if (isIn(address, named)) loopback.push(address);
      } else if (all || isIn(address, mine)) {
        addresses.push(address);
      }
    }
  }
  return { addresses: addresses.sort(), loopback: loopback.sort(), warnings };
}

function isIn(address: string, cidrs: readonly Cidr[]): boolean {
  return cidrs.some((cidr) => cidrContains(cidr, address));
}

function prefixesOf(asked: readonly string[], nodeIPs: readonly string[]) {
  const cidrs: Cidr[] = [];
  const unreadable: string[] = [];
  for (const text of asked) {
    if (text === 'primary') {
      cidrs.push(...nodeIPs.flatMap(primaryPrefix));
      continue;
    }
    const cidr = parseCidr(normalCidr(text) ?? '');
    if (cidr === undefined) unreadable.push(text);
    else cidrs.push(cidr);
  }
  return { cidrs, unreadable };
}

/** A loopback address is what a node has that knows none of its own (P31). */
function primaryPrefix(address: string): Cidr[] {
  const family: IpFamily | undefined = familyOf(address);
  if (family === undefined) return [];
  if (FAMILIES.some(({ loopback }) => cidrContains(loopback, address))) return [];
  return [parseCidr(`${address}/${bitsOf(family)}`)!];
}
