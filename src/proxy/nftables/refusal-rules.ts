/** Rules for packets that no endpoint gets: refused, dropped, or counted. */
import { registerAt, type Expression } from '../../kernel/nftables/index.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { address, bytes, destinationPort, jump, lookup, verdict } from './expressions.ts';
import { SERVICE_RANGES } from './ranges.ts';
import { ifNew, loadFrontend, ownedBy, told, WORD, type Rule } from './rule-parts.ts';

/** Counts packets to node ports on loopback addresses where no process listens. */
export const LOCALHOST_CHAIN = 'localhost';

/** RFC 792: type 3 code 3; RFC 4443 §3.1: type 1 code 4 (P95). */
const ICMP_PORT_UNREACHABLE = 3;
const ICMPV6_PORT_UNREACHABLE = 4;

export function refuseRules(family: IpFamily): Rule[] {
  return [
    told('no local endpoint', ...loadFrontend(family), lookup('dropped', 0), verdict('drop')),
    told('no endpoint', ...loadFrontend(family), lookup('rejected', 0), unreachable(family)),
    told(
      'no such port',
      address(family, 'destination', 0),
      lookup('cluster-ips', 0),
      unreachable(family),
    ),
    told(
      'no such Service',
      ...ownedBy(SERVICE_RANGES),
      address(family, 'destination', WORD.rangeAddress),
      lookup('ranges', WORD.rangeOwner),
      verdict('drop'),
    ),
  ];
}

/** `icmpx` is for tables of both families: in ours it would only drop (nft_reject_ipv4.c). */
function unreachable(family: IpFamily): Expression {
  const code = family === 'ipv4' ? ICMP_PORT_UNREACHABLE : ICMPV6_PORT_UNREACHABLE;
  return { kind: 'reject', type: 'icmp', code };
}

/** Node ports on loopback addresses are nobody's, but for processes that listen there (P36, P37). */
export function ifLocalhost(family: IpFamily): Rule {
  return told(
    'node ports on loopback addresses',
    ...ifNew(),
    ...ifLoopback(family),
    { kind: 'meta', key: 'l4proto', dreg: registerAt(0) },
    destinationPort(1),
    lookup('node-ports', 0),
    jump(LOCALHOST_CHAIN),
  );
}

/** The kernel itself refuses what no socket waits for, and it knows how best. */
export function localhostRules(): Rule[] {
  return [
    // Whatever it says: without a socket the rule ends here.
    told(
      'a process listens',
      { kind: 'socket', key: 'transparent', dreg: registerAt(0) },
      verdict('return'),
    ),
    told('nobody does', { kind: 'counter' }),
  ];
}

function ifLoopback(family: IpFamily): Expression[] {
  const loopback = bytes(family === 'ipv4' ? '7f' : '00000000000000000000000000000001');
  return [
    // The first byte of an IPv4 address tells.
    { ...address(family, 'destination', 0), length: loopback.length },
    { kind: 'cmp', op: 'eq', sreg: registerAt(0), data: loopback },
  ];
}
