/**
 * What of a reply belongs to its question. A server may add what nobody asked for, by mistake or to
 * have it believed: it is taken away before anything is kept or passed on (RFC 5452 §6).
 */
import { TYPE, type Message, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, type Name } from '../wire/name.ts';

/** RFC 4034, RFC 5155. */
const signature = 46;
const denials = new Set([47, 50]);

/** A longer chain of aliases is a mistake, and nobody would follow it. */
const aliasesMax = 16;

/** The message without records of other names than the asked one, its aliases and what they lead to. */
export function withinBailiwick(message: Message): Message {
  const asked = foldCase(message.questions[0]!.name);
  const chain = chainFrom(asked, message.answers);
  const answers = message.answers.filter((record) => isInChain(record, chain));
  const authorities = authoritiesOf(message.authorities, chain);
  const hosts = new Set([...answers, ...authorities].flatMap(namesIn).map(foldCase));
  const additionals = message.additionals.filter(({ type, name }) => {
    const isAddress = type === TYPE.A || type === TYPE.AAAA || type === signature;
    return isAddress && hosts.has(foldCase(name));
  });
  return { ...message, answers, authorities, additionals };
}

/** The asked name and every name that an alias in the answers leads to from there. */
function chainFrom(asked: Name, answers: readonly ResourceRecord[]): ReadonlySet<Name> {
  const targets = new Map<Name, Name>();
  for (const { name, type, data } of answers) {
    if (type === TYPE.CNAME && typeof data[0] === 'string') targets.set(foldCase(name), data[0]);
  }
  const chain = new Set([asked]);
  let last = asked;
  while (chain.size <= aliasesMax) {
    const target = targets.get(last);
    if (target === undefined) break;
    last = foldCase(target);
    chain.add(last);
  }
  return chain;
}

function isInChain({ name, type }: ResourceRecord, chain: ReadonlySet<Name>): boolean {
  const owner = foldCase(name);
  if (chain.has(owner)) return true;
  // A DNAME stands above the names it makes aliases of (RFC 6672), with its signature.
  return (type === TYPE.DNAME || type === signature) && isAbove(owner, chain);
}

function isAbove(zone: Name, chain: ReadonlySet<Name>): boolean {
  return [...chain].some((name) => isWithin(name, zone));
}

/** Zones above the chain, and what such a zone says does not exist. */
function authoritiesOf(
  records: readonly ResourceRecord[],
  chain: ReadonlySet<Name>,
): ResourceRecord[] {
  const zones = records
    .filter(({ type }) => type === TYPE.SOA || type === TYPE.NS)
    .map(({ name }) => foldCase(name))
    .filter((zone) => isAbove(zone, chain));
  return records.filter(({ name, type }) => {
    const owner = foldCase(name);
    if (denials.has(type) || type === signature) return zones.some((zone) => isWithin(owner, zone));
    return isAbove(owner, chain);
  });
}

/** Names that a record points to, whose addresses may come along. */
function namesIn({ type, data }: ResourceRecord): Name[] {
  if (type !== TYPE.SVCB && type !== TYPE.HTTPS) {
    return data.filter((part) => typeof part === 'string');
  }
  const [bytes] = data;
  if (!(bytes instanceof Uint8Array)) return [];
  // Two bytes of priority, then a name that is never compressed (RFC 9460 §2.2).
  const text = Buffer.from(bytes).toString('latin1', 2);
  let end = 0;
  while (end < text.length && text.charCodeAt(end) !== 0) end += 1 + text.charCodeAt(end);
  return [text.slice(0, end + 1)];
}
