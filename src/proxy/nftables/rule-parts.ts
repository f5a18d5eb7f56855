/**
 * What the rules of one family are made of. The kernel forgets registers between rules (kernel >=
 * 6.8 refuses to load from one not written in the same rule), so every rule looks its frontend up
 * again: a hash lookup on the first packet of a connection, and no state in marks of others.
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
import type { InterfaceMatch } from '../../plan/types.ts';
import {
  address,
  addressWords,
  bitwise,
  bytes,
  compare,
  destinationPort,
  inverted,
  lookup,
} from './expressions.ts';
import { POD_RANGES } from './ranges.ts';
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

/** What stands where. */
export const WORD = {
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

/** Bytes of an interface's name, the closing NUL included (linux/if.h). */
const IFNAMSIZ = 16;
const FIB_LOCAL = 2;
const CT_NEW = 8;

export function rule(...expressions: Expression[]): Rule {
  return { expressions };
}

export function told(comment: string, ...expressions: Expression[]): Rule {
  return { comment, expressions };
}

export function loadFrontend(family: IpFamily): Expression[] {
  const words = addressWords(family);
  return [
    address(family, 'destination', WORD.frontend),
    { kind: 'meta', key: 'l4proto', dreg: registerAt(WORD.frontend + words) },
    destinationPort(WORD.frontend + words + 1),
  ];
}

/** Ends the rule for packets to no frontend. */
export function lookUpFrontend(family: IpFamily): Expression[] {
  return [...loadFrontend(family), lookup('frontends', WORD.frontend, WORD.facts)];
}

export function mark({ masqueradeBit }: RuleContext): Expression[] {
  const bit = 1 << masqueradeBit;
  return [
    { kind: 'meta', key: 'mark', dreg: registerAt(0) },
    bitwise(0, { mask: ~bit, xor: bit }),
    { kind: 'meta', key: 'mark', sreg: registerAt(0) },
  ];
}

export function ifPod(context: RuleContext, options: { inverted: boolean }): Expression[] {
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

export function ownedBy(owner: number): Expression[] {
  return [{ kind: 'immediate', dreg: registerAt(WORD.rangeOwner), data: bytes(numberWord(owner)) }];
}

export function ifNodeItself(): Expression[] {
  return [
    { kind: 'fib', dreg: registerAt(0), result: 'type', flags: ['saddr'] },
    compare('eq', 0, FIB_LOCAL),
  ];
}

/** Running connections are left alone (P96). */
export function ifNew(): Expression[] {
  return [
    { kind: 'ct', key: 'state', dreg: registerAt(0) },
    bitwise(0, { mask: CT_NEW, xor: 0 }),
    compare('neq', 0, 0),
  ];
}
