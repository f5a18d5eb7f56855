/** The rules of one family: base chains, dispatch, the chains of classes, masquerading. */
import { registerAt, type Expression } from '../../kernel/nftables/index.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { SOURCE_HASH_SEED } from '../../plan/source-hash.ts';
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
import { ifLocalhost, LOCALHOST_CHAIN, localhostRules, refuseRules } from './refusal-rules.ts';
import {
  ifNew,
  ifNodeItself,
  ifPod,
  loadFrontend,
  lookUpFrontend,
  mark,
  rule,
  told,
  WORD,
  type Rule,
  type RuleContext,
} from './rule-parts.ts';
import {
  address,
  addressWords,
  bitwise,
  bytes,
  compare,
  goTo,
  inverted,
  jump,
  lookup,
  toClass,
  verdict,
} from './expressions.ts';

/** The dynamic map that ties clients to endpoints; only rules write it. */
export const AFFINITY_SET = 'affinity';

/** Connections whose destination is rewritten (nf_conntrack_common.h). */
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

// ---- dispatch

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
