/** Where our answer differs from CoreDNS's on purpose: docs/decisions/0006 and 0024 tell why. */
import type { Question } from './questions.ts';
import { types } from './questions.ts';
import type { Seen } from './reply.ts';

export type Case = {
  readonly question: Question;
  readonly ours: Seen;
  readonly theirs: Seen;
  /** Whether other names are forwarded. */
  readonly outside: boolean;
};

type Rule = { readonly item: string; readonly applies: (given: Case) => boolean };

/** Not even `strict-coredns` copies these. */
const always: readonly Rule[] = [
  {
    item: 'without an upstream other names are refused',
    applies: ({ ours, theirs, outside }) =>
      !outside && !isOwn(theirs) && rcode(ours) === 5 && rcode(theirs) === 2,
  },
  {
    item: 'D66: no data of class IN for another class',
    applies: ({ question, ours, outside }) => outside && question.class !== 1 && rcode(ours) === 5,
  },
  {
    item: 'D73: an unknown EDNS version is told before an unknown class',
    applies: ({ question, theirs }) =>
      !theirs.header.endsWith(' class=1') &&
      (question.edns?.version ?? 0) !== 0 &&
      rcode(theirs) === 5,
  },
  {
    item: 'D36: NS names in any case',
    applies: ({ question, ours }) =>
      isRespelled(question) && isNameserver(question) && rcode(ours) === 0,
  },
  {
    item: 'D9: the SOA spells ns.dns as the question for it does',
    applies: ({ question, ours, theirs }) =>
      isNameserver(question) && folded(ours) === folded(theirs),
  },
  {
    item: 'a question cut before its class is a format error, not one of class 0',
    applies: ({ question, ours, theirs }) =>
      question.damage !== undefined && rcode(ours) === 1 && theirs.header.endsWith(' class=0'),
  },
  {
    item: 'what a question carries beside its OPT record is not looked into',
    applies: ({ question, ours, theirs }) =>
      question.damage?.kind === 'byte' && rcode(theirs) === 1 && rcode(ours) !== 1,
  },
  {
    item: 'D28: host names of endpoints make one alias, and only where there is no address',
    applies: ({ question, ours, theirs }) =>
      aliases(theirs) > 0 &&
      (aliases(theirs) > aliases(ours) ||
        // Of several host names either server picks one.
        (question.type === types.CNAME && aliases(ours) === 1)),
  },
  {
    item: 'an ExternalName Service over this server makes no alias to nothing',
    applies: ({ question, theirs }) =>
      theirs.answers.some((line) => line.includes('CNAME <nil>')) ||
      (question.type === types.NS && rcode(theirs) === 2),
  },
  {
    item: 'D34: a slice of no Service does not take the name away that this server has for itself',
    applies: ({ question, ours, theirs }) =>
      isNameserver(question) &&
      ours.answers.length > 0 &&
      theirs.answers.length === 0 &&
      rcode(theirs) === 0,
  },
  {
    item: 'PTR of an address in a slice of no Service: CoreDNS cannot write its own answer',
    applies: ({ question, theirs }) => question.type === types.PTR && theirs.header === 'silence',
  },
  {
    item: 'labels left of a full IPv6 reverse name make it another name',
    applies: ({ question, ours, theirs }) =>
      question.labels.length > 34 && rcode(ours) === 3 && theirs.answers.length > 0,
  },
  {
    item: 'the end of a name from upstream may be spelled as the question for it was',
    applies: ({ ours, theirs, outside }) => outside && folded(ours) === folded(theirs),
  },
  {
    item: 'NOTIFY is not forwarded',
    applies: ({ question, ours, outside }) => outside && question.opcode === 4 && rcode(ours) === 5,
  },
  {
    item: 'D90b: a cut upstream reply is fetched whole',
    applies: ({ ours, theirs, outside }) => outside && theirs.truncated && !ours.truncated,
  },
];

/** What `strict-coredns` brings back. */
const usual: readonly Rule[] = [
  {
    item: 'D33e, D39, D40: a name with names below it exists, and one that has records',
    applies: ({ ours, theirs }) =>
      rcode(ours) === 0 && rcode(theirs) === 3 && ours.answers.length === 0,
  },
  {
    item: 'D34: the names of NS records exist',
    applies: ({ question, ours }) =>
      (question.type === types.NS || question.labels[0]?.toLowerCase() === 'ns') &&
      ours.answers.length > 0,
  },
  {
    item: 'D55: a PTR names a Service that exists',
    applies: ({ question, theirs }) => question.type === types.PTR && theirs.answers.length > 0,
  },
];

/** The decision that makes the difference right; undefined: it is a fault. */
export function decisionFor(given: Case, { strict }: { strict: boolean }): string | undefined {
  const rules = strict ? always : [...always, ...usual];
  return rules.find(({ applies }) => applies(given))?.item;
}

function rcode({ header }: Seen): number {
  return Number(/rcode=(\d+)/.exec(header)?.[1] ?? -1);
}

function folded(seen: Seen): string {
  return JSON.stringify(seen).toLowerCase();
}

function aliases({ answers }: Seen): number {
  return answers.filter((line) => / CNAME /.test(line)).length;
}

/** By the question as it was read. */
function isOwn({ header }: Seen): boolean {
  return /[. ](cluster\.local|in-addr\.arpa|ip6\.arpa)\. type/i.test(header);
}

/** The names by which the server knows itself, and what stands above them. */
function isNameserver({ labels, type }: Question): boolean {
  const name = labels.join('.').toLowerCase();
  return type === types.NS || name === 'ns.dns.cluster.local' || name === 'dns.cluster.local';
}

function isRespelled({ labels }: Question): boolean {
  return labels.some((label) => /[A-Z]/.test(label));
}
