/** `acl`: who may ask what. */
import { cidrContains } from '../../lib/ip.ts';
import type { AclPolicy, AclSettings } from '../config/types.ts';
import {
  failure,
  type Answered,
  type Ask,
  type Next,
  type Stage,
  type StageMetric,
} from '../stage.ts';
import { RCODE } from '../wire/message.ts';
import { foldCase, formatName, isWithin, type Name } from '../wire/name.ts';

/** RFC 8914 §4.16, §4.18. */
const blocked = 15;
const filtered = 17;

const done = { block: 'blocked', filter: 'filtered', drop: 'dropped' } as const;

type Found = { readonly action: AclPolicy['action']; readonly zone: Name };

export function aclStage(rules: AclSettings): Stage {
  const source = { stage: 'acl' };
  /** By what was done and in which zone of a rule. */
  const counts = new Map<string, number>();
  const count = (found: Found | undefined) => {
    const key =
      found === undefined || found.action === 'allow'
        ? 'allowed'
        : `${done[found.action]} ${formatName(found.zone)}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  };
  const answer = (ask: Ask, next: Next): Answered => {
    const found = policyFor(rules, ask);
    count(found);
    switch (found?.action) {
      case 'block':
        return { ...failure(RCODE.REFUSED, source), extendedError: { code: blocked, text: '' } };
      case 'filter':
        return { ...failure(RCODE.NOERROR, source), extendedError: { code: filtered, text: '' } };
      case 'drop':
        return { ...failure(RCODE.NOERROR, source), dropped: true };
      default:
        return next(ask);
    }
  };
  const metrics: Stage['metrics'] = ({ server, view }) =>
    [...counts].map(([key, value]): StageMetric => {
      const [action = '', zone = ''] = key.split(' ');
      const labels = zone === '' ? { server, view } : { server, zone, view };
      const name = `coredns_acl_${action}_requests_total`;
      return { name, help: `Questions that were ${action}`, kind: 'counter', labels, value };
    });
  return { name: 'acl', answer, metrics };
}

/** The first policy that fits, of the first rule that has one. */
function policyFor(rules: AclSettings, ask: Ask): Found | undefined {
  const folded = foldCase(ask.query.question.name);
  for (const { zones, policies } of rules) {
    const zone = zones.find((one) => isWithin(folded, one));
    if (zone === undefined) continue;
    const found = policies.find((policy) => fits(policy, ask));
    if (found !== undefined) return { action: found.action, zone };
  }
  return undefined;
}

function fits({ types, sources }: AclPolicy, { query, from }: Ask): boolean {
  if (types !== undefined && !types.includes(query.question.type)) return false;
  if (sources === undefined) return true;
  const address = plainAddress(from.address);
  return sources.some((cidr) => cidrContains(cidr, address));
}

/** A socket for both families shows IPv4 clients as `::ffff:192.0.2.1`; link-local ones have a zone. */
export function plainAddress(address: string): string {
  return address.replace(/^::ffff:(?=[\d.]+$)/, '').replace(/%.*$/, '');
}
