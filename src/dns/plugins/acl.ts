/** `acl`: who may ask what. */
import { cidrContains } from '../../lib/ip.ts';
import type { AclPolicy, AclSettings } from '../config/types.ts';
import { failure, type Answered, type Ask, type Next, type Stage } from '../stage.ts';
import { RCODE } from '../wire/message.ts';
import { foldCase, isWithin } from '../wire/name.ts';

/** RFC 8914 §4.16, §4.18. */
const blocked = 15;
const filtered = 17;

export function aclStage(rules: AclSettings): Stage {
  const source = { stage: 'acl' };
  const answer = (ask: Ask, next: Next): Answered => {
    const action = actionFor(rules, ask);
    switch (action) {
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
  return { name: 'acl', answer };
}

/** The first policy that fits, of the first rule that has one. */
function actionFor(rules: AclSettings, ask: Ask): AclPolicy['action'] | undefined {
  const folded = foldCase(ask.query.question.name);
  for (const { zones, policies } of rules) {
    if (!zones.some((zone) => isWithin(folded, zone))) continue;
    const found = policies.find((policy) => fits(policy, ask));
    if (found !== undefined) return found.action;
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
