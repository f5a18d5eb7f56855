/**
 * The rules of one family. The kernel forgets registers between rules (kernel >= 6.8 refuses to
 * load from one not written in the same rule), so every rule looks its frontend up again: a hash
 * lookup on the first packet of a connection, and no state in marks of others.
 *
 * Words 0-5 hold the frontend (address, protocol, port) and later the target (address, port,
 * sticky id); 6-10 what `frontends` says: nothing, the class to enter by, its timeout, the class
 * for others, the number of the Service port; 11-14 follow that number as the rest of a key.
 *
 * nft(8) up to 1.0.x aborts, whatever it was asked to list, when it meets a key that begins with
 * what a map gave; when such a key begins with a word inside of what a map gave, it only says that
 * it cannot show the rule. Hence the first word of what our maps give is never part of a key.
 */
import { registerAt, type Expression } from '../../kernel/nftables/index.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { SOURCE_HASH_SEED } from '../../plan/source-hash.ts';
import type { InterfaceMatch } from '../../plan/types.ts';
import {
  chainName,
  ENTRY_SHIFT,
  leadsToPlain,
  LOCAL_SLOTS,
  plainOf,
  SOURCE_BITS,
  type Class,
} from './classes.ts';
import { poolWord } from './pools.ts';
import { POD_RANGES, SERVICE_RANGES } from './ranges.ts';
import {
  address,
  addressWords,
  bitwise,
  bytes,
  compare,
  destinationPort,
  goTo,
  inverted,
  jump,
  lookup,
  toClass,
  verdict,
} from './expressions.ts';
import { numberWord } from './words.ts';

/** The comment is for who lists the rules: nft cannot show all of them in full. */
export type Rule = { readonly comment?: string; readonly expressions: readonly Expression[] };

/** What rules depend on beside the family; fixed for the life of a proxy. */
export type RuleSettings = {
  /** The bit of the packet mark that asks for masquerading, 0-31 (P67). */
  readonly masqueradeBit: number;
  /** Pods are told by the interface they come in by; otherwise by the pod ranges (P66). */
  readonly podInterface?: InterfaceMatch;
};

/** kube-proxy's own default. */
export const DEFAULT_SETTINGS: RuleSettings = { masqueradeBit: 14 };

/** What rules are made for. */
export type RuleContext = RuleSettings & { readonly family: IpFamily };

/** Counts packets to node ports on loopback addresses where no process listens. */
export const LOCALHOST_CHAIN = 'localhost';

/** The dynamic map that ties clients to endpoints; only rules write it. */
export const AFFINITY_SET = 'affinity';

const WORD = {
  frontend: 0,
  target: 0,
  facts: 6,
  enter: 7,
  timeout: 8,
  others: 9,
  restriction: 7,
  rangeOwner: 8,
  rangeAddress: 9,
  tie: 8,
  stickyPool: 8,
  stickyId: 9,
  port: 10,
  slot: 11,
  client: 11,
} as const;

/** RFC 792: type 3 code 3; RFC 4443 §3.1: type 1 code 4 (P95). */
const ICMP_PORT_UNREACHABLE = 3;
const ICMPV6_PORT_UNREACHABLE = 4;
/** Bytes of an interface's name, the closing NUL included (linux/if.h). */
const IFNAMSIZ = 16;
const FIB_LOCAL = 2;
const CT_NEW = 8;
const CT_DNAT = 32;

/** Base chains: where packets enter (P24, P97, P135). */
export const BASE_CHAINS = [
  { name: 'nat-prerouting', type: 'nat', hook: 'prerouting', priority: -100 },
  { name: 'nat-output', type: 'nat', hook: 'output', priority: -100 },
  { name: 'nat-postrouting', type: 'nat', hook: 'postrouting', priority: 100 },
  { name: 'filter-input', type: 'filter', hook: 'input', priority: 0 },
  { name: 'filter-forward', type: 'filter', hook: 'forward', priority: 0 },
  { name: 'filter-output', type: 'filter', hook: 'output', priority: 0 },
] as const;

/** Every chain but those of classes, with its rules. */
export function fixedChains(context: RuleContext): ReadonlyMap<string, readonly Rule[]> {
  const { family } = context;
  return new Map<string, readonly Rule[]>([
    ['services', [dropForbidden(family), dispatch(family), dispatchBySource(family)]],
    ['by-source', sourceRules(context)],
    ['nearby', [enterPlain(family)]],
    ['refuse', refuseRules(family)],
    ['nat-prerouting', [rule(jump('services'))]],
    ['nat-output', [rule(jump('services'))]],
    ['nat-postrouting', postroutingRules(context)],
    [LOCALHOST_CHAIN, localhostRules()],
    ['filter-input', [rule(...ifNew(), jump('refuse')), ifLocalhost(family)]],
    ['filter-forward', [rule(...ifNew(), jump('refuse'))]],
    ['filter-output', [rule(...ifNew(), jump('refuse'))]],
  ]);
}

/** The chain of one class. */
export function classRules(context: RuleContext, one: Class): readonly Rule[] {
  const { family } = context;
  const rules: Rule[] = [];
  if (one.entry === 'outsiders') {
    const noPod = ifPod(context, { inverted: true });
    rules.push(told('masquerade what is no pod', ...noPod, ...mark(context)));
  }
  if (one.entry === 'masquerade') rules.push(rule(...mark(context)));
  if (leadsToPlain(one)) {
    return [...rules, told('whose turn it is', goTo(chainName(plainOf(one))))];
  }
  if (one.affinitySeconds > 0) rules.push(stayRule(family, one), tieRule(family, one));
  // With affinity this serves those who cannot be tied because the map is full.
  rules.push(told('any endpoint', ...pickTarget(family, one), dnat(family)));
  return rules;
}

function rule(...expressions: Expression[]): Rule {
  return { expressions };
}

function told(comment: string, ...expressions: Expression[]): Rule {
  return { comment, expressions };
}

// ---- dispatch

function loadFrontend(family: IpFamily): Expression[] {
  const words = addressWords(family);
  return [
    address(family, 'destination', WORD.frontend),
    { kind: 'meta', key: 'l4proto', dreg: registerAt(WORD.frontend + words) },
    destinationPort(WORD.frontend + words + 1),
  ];
}

/** Ends the rule for packets to no frontend. */
function lookUpFrontend(family: IpFamily): Expression[] {
  return [...loadFrontend(family), lookup('frontends', WORD.frontend, WORD.facts)];
}

function dispatch(family: IpFamily): Rule {
  return told('to the chain of its class', ...lookUpFrontend(family), toClass(WORD.enter));
}

/** Not by the map of classes: its elements would lead to a chain that looks them up, a loop. */
function dispatchBySource(family: IpFamily): Rule {
  return told(
    'externalTrafficPolicy Local',
    ...lookUpFrontend(family),
    bitwise(WORD.enter, { mask: SOURCE_BITS, xor: 0 }),
    compare('eq', WORD.enter, SOURCE_BITS),
    goTo('by-source'),
  );
}

/** Source ranges of balancer addresses, before anything else (P51). */
function dropForbidden(family: IpFamily): Rule {
  return told(
    'sources outside loadBalancerSourceRanges',
    ...loadFrontend(family),
    lookup('restricted', WORD.frontend, WORD.restriction),
    address(family, 'source', WORD.rangeAddress),
    inverted(lookup('ranges', WORD.rangeOwner)),
    verdict('drop'),
  );
}

/** externalTrafficPolicy Local: own pods and processes reach all endpoints (P58, P60, P62). */
function sourceRules(context: RuleContext): Rule[] {
  const { family } = context;
  return [
    told('pods: all endpoints', ...ifPod(context, { inverted: false }), goTo('nearby')),
    told('the node itself: all endpoints', ...ifNodeItself(), ...mark(context), goTo('nearby')),
    told(
      'others: local endpoints',
      ...lookUpFrontend(family),
      // The timeout belongs to both classes; here the number of the port makes room for it.
      { ...bitwise(WORD.timeout, { mask: ~0, xor: 0 }), dreg: registerAt(WORD.others + 1) },
      toClass(WORD.others),
    ),
  ];
}

/** Enters by the class without its entry: what that would have done is done. */
function enterPlain(family: IpFamily): Rule {
  const keep = 2 ** ENTRY_SHIFT - 1;
  return told(
    'to the chain of its class, without masquerading',
    ...lookUpFrontend(family),
    bitwise(WORD.enter, { mask: keep, xor: 0 }),
    toClass(WORD.enter),
  );
}

// ---- targets

/** Loads address, port and sticky id of an endpoint. */
function pickTarget(family: IpFamily, one: Class): Expression[] {
  return [
    ...lookUpFrontend(family),
    ...pickSlot(family, one),
    lookup('endpoints', WORD.port, WORD.target),
  ];
}

function pickSlot(family: IpFamily, { choice, count, pool }: Class): Expression[] {
  const first = pool === 'local' ? { offset: LOCAL_SLOTS } : {};
  const slot = { dreg: registerAt(WORD.slot), modulus: count, ...first };
  if (choice.kind !== 'source') {
    return [{ kind: 'numgen', type: choice.kind === 'turn' ? 'inc' : 'random', ...slot }];
  }
  const sreg = registerAt(WORD.client);
  const length = addressWords(family) * 4;
  return [
    address(family, 'source', WORD.client),
    { kind: 'hash', type: 'jhash', sreg, length, seed: SOURCE_HASH_SEED, ...slot },
  ];
}

/** A client that is tied to an endpoint of this pool stays with it; its time starts anew (P86). */
function stayRule(family: IpFamily, one: Class): Rule {
  return told(
    'the endpoint of last time',
    ...lookUpFrontend(family),
    address(family, 'source', WORD.client),
    lookup(AFFINITY_SET, WORD.port, WORD.tie),
    { kind: 'immediate', dreg: registerAt(WORD.stickyPool), data: bytes(poolWord(one.pool)) },
    lookup('sticky', WORD.stickyPool, WORD.target),
    tie('update', WORD.tie, one),
    dnat(family),
  );
}

/** Picks an endpoint and ties the client to it. A tie to another one must go first: `update` keeps data. */
function tieRule(family: IpFamily, one: Class): Rule {
  const port = WORD.target + addressWords(family);
  return told(
    'any endpoint, and the same next time',
    ...pickTarget(family, one),
    address(family, 'source', WORD.client),
    tie('delete', port, one),
    tie('update', port, one),
    dnat(family),
  );
}

/** The data are two words: one without meaning, the sticky id. An element that is there keeps its. */
function tie(op: 'update' | 'delete', word: number, one: Class): Expression {
  return {
    kind: 'dynset',
    op,
    set: AFFINITY_SET,
    sregKey: registerAt(WORD.port),
    sregData: registerAt(word),
    ...(op === 'update' ? { timeoutMs: one.affinitySeconds * 1000 } : {}),
  };
}

function dnat(family: IpFamily): Expression {
  return {
    kind: 'nat',
    type: 'dnat',
    family: family === 'ipv4' ? 'ip' : 'ip6',
    addrMin: registerAt(WORD.target),
    protoMin: registerAt(WORD.target + addressWords(family)),
  };
}

// ---- masquerading

function mark({ masqueradeBit }: RuleContext): Expression[] {
  const bit = 1 << masqueradeBit;
  return [
    { kind: 'meta', key: 'mark', dreg: registerAt(0) },
    bitwise(0, { mask: ~bit, xor: bit }),
    { kind: 'meta', key: 'mark', sreg: registerAt(0) },
  ];
}

function postroutingRules({ family, masqueradeBit }: RuleContext): Rule[] {
  const bit = 1 << masqueradeBit;
  const masquerade: Expression = { kind: 'masq', flags: ['fully-random'] };
  return [
    rule(
      { kind: 'meta', key: 'mark', dreg: registerAt(0) },
      bitwise(0, { mask: bit, xor: 0 }),
      compare('neq', 0, 0),
      // Cleared, so that the packet is not rewritten again when a tunnel sends it by once more.
      { kind: 'meta', key: 'mark', dreg: registerAt(0) },
      bitwise(0, { mask: ~0, xor: bit }),
      { kind: 'meta', key: 'mark', sreg: registerAt(0) },
      masquerade,
    ),
    told(
      'pods that reach themselves',
      { kind: 'ct', key: 'status', dreg: registerAt(0) },
      bitwise(0, { mask: CT_DNAT, xor: 0 }),
      compare('neq', 0, 0),
      address(family, 'source', 0),
      address(family, 'destination', addressWords(family)),
      lookup('hairpin', 0),
      masquerade,
    ),
  ];
}

// ---- refusals

function refuseRules(family: IpFamily): Rule[] {
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
function ifLocalhost(family: IpFamily): Rule {
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
function localhostRules(): Rule[] {
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

// ---- conditions

function ifPod(context: RuleContext, options: { inverted: boolean }): Expression[] {
  const { family, podInterface } = context;
  if (podInterface !== undefined) return ifInterface(podInterface, options);
  const found = lookup('ranges', WORD.rangeOwner);
  return [
    ...ownedBy(POD_RANGES),
    address(family, 'source', WORD.rangeAddress),
    options.inverted ? inverted(found) : found,
  ];
}

/** What starts on the node itself comes in by no interface: its name is empty then. */
function ifInterface(match: InterfaceMatch, options: { inverted: boolean }): Expression[] {
  const name = Buffer.from(match.text);
  const data = match.kind === 'prefix' ? name : Buffer.concat([name], IFNAMSIZ);
  const op = options.inverted ? 'neq' : 'eq';
  return [
    { kind: 'meta', key: 'iifname', dreg: registerAt(0) },
    { kind: 'cmp', op, sreg: registerAt(0), data: Uint8Array.from(data) },
  ];
}

function ownedBy(owner: number): Expression[] {
  return [{ kind: 'immediate', dreg: registerAt(WORD.rangeOwner), data: bytes(numberWord(owner)) }];
}

function ifNodeItself(): Expression[] {
  return [
    { kind: 'fib', dreg: registerAt(0), result: 'type', flags: ['saddr'] },
    compare('eq', 0, FIB_LOCAL),
  ];
}

/** Running connections are left alone (P96). */
function ifNew(): Expression[] {
  return [
    { kind: 'ct', key: 'state', dreg: registerAt(0) },
    bitwise(0, { mask: CT_NEW, xor: 0 }),
    compare('neq', 0, 0),
  ];
}
