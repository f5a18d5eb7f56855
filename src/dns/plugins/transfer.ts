/** `transfer`: whole zones for other name servers (RFC 5936, RFC 1995). */
import type { TransferSettings } from '../config/types.ts';
import { failure, type Answer, type Answered, type Ask, type Next, type Stage } from '../stage.ts';
import { FLAG, RCODE, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, type Name } from '../wire/name.ts';
import { plainAddress } from './acl.ts';

export type TransferOptions = {
  readonly settings: TransferSettings;
  /** All records of a zone, SOA first and last, or only its SOA if it has that serial still. */
  readonly recordsOf: (zone: Name, serial: number | undefined) => ResourceRecord[] | undefined;
};

export function transferStage({ settings, recordsOf }: TransferOptions): Stage {
  const source = { stage: 'transfer' };
  const answer = (ask: Ask, next: Next): Answered => {
    const { name, type } = ask.query.question;
    if (type !== TYPE.AXFR && type !== TYPE.IXFR) return next(ask);
    if (ask.transport === 'udp') return failure(RCODE.REFUSED, source);
    const folded = foldCase(name);
    const rules = settings.filter(({ zones }) => zones.some((zone) => isWithin(folded, zone)));
    if (rules.length === 0) return next(ask);
    const from = plainAddress(ask.from.address);
    const allowed = rules.some(({ to }) => to === 'all' || to.includes(from));
    if (!allowed) return failure(RCODE.REFUSED, source);
    const serial = type === TYPE.IXFR ? ask.query.serial : undefined;
    if (type === TYPE.IXFR && serial === undefined) return failure(RCODE.SERVFAIL, source);
    const records = recordsOf(folded, serial);
    return records === undefined ? next(ask) : transferOf(records);
  };
  const transferOf = async (answers: ResourceRecord[]): Promise<Answer> => {
    const rest = { authorities: [], additionals: [], sources: [source] };
    return { flags: FLAG.AA, answers, ...rest, isTransfer: true };
  };
  return { name: 'transfer', answer };
}
