/** `rewrite`: other names, types or classes on the way in, and turned back on the way out. */
import type { AnswerRewrite, NameMatch, RewriteRule } from '../config/types.ts';
import {
  failure,
  follow,
  whenDone,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Stage,
} from '../stage.ts';
import { RCODE, rcodeOf, TYPE, type Question, type ResourceRecord } from '../wire/message.ts';
import { foldCase, formatName, parseName, type Name } from '../wire/name.ts';

const stageName = 'rewrite';

/** What a rule does to an answer; `text` is presentation form. */
type Undo =
  | { readonly kind: 'name' | 'value'; readonly change: (text: string) => string }
  | { readonly kind: 'ttl'; readonly minSeconds: number; readonly maxSeconds: number }
  | { readonly kind: 'rcode'; readonly from: number | undefined; readonly to: number };

export function rewriteStage(rules: readonly RewriteRule[]): Stage {
  const answer = (ask: Ask, next: Next): Answered => {
    let { question } = ask.query;
    const undos: Undo[] = [];
    for (const rule of rules) {
      if (rule.kind === 'cname') continue;
      const done = applied(rule, question);
      if (done === undefined) continue;
      if (done === 'invalid') {
        return failure(RCODE.SERVFAIL, { stage: stageName }, 'invalid name after rewrite');
      }
      question = done.question;
      undos.push(...done.undos);
      if (rule.last) break;
    }
    const aliases = rules.filter((rule) => rule.kind === 'cname');
    if (question === ask.query.question && undos.length === 0 && aliases.length === 0) {
      return next(ask);
    }
    const changed = { ...ask, query: { ...ask.query, question } };
    return whenDone(next(changed), (found) =>
      whenDone(withTargets(aliases, found, changed), (target) => turnedBack(target, undos)),
    );
  };
  return { name: stageName, answer };
}

type Done = { readonly question: Question; readonly undos: readonly Undo[] };

/** The question as the rule makes it; undefined: the rule is not about it. */
function applied(rule: RewriteRule, question: Question): Done | 'invalid' | undefined {
  switch (rule.kind) {
    case 'type':
      return question.type === rule.from
        ? { question: { ...question, type: rule.to }, undos: [] }
        : undefined;
    case 'class':
      return question.class === rule.from
        ? { question: { ...question, class: rule.to }, undos: [] }
        : undefined;
    case 'ttl':
    case 'rcode':
      return matches(rule.match, textOf(question.name)) ? { question, undos: [rule] } : undefined;
    case 'name':
      return renamed(rule, question);
    default:
      return undefined;
  }
}

function textOf(name: Name): string {
  return formatName(foldCase(name));
}

function matches(match: NameMatch, text: string): boolean {
  switch (match.how) {
    case 'exact':
      return text === match.text;
    case 'prefix':
      return text.startsWith(match.text);
    case 'suffix':
      return text.endsWith(match.text);
    case 'substring':
      return text.includes(match.text);
    default:
      return match.pattern.test(text);
  }
}

function renamed(
  rule: RewriteRule & { kind: 'name' },
  question: Question,
): Done | 'invalid' | undefined {
  const { match, to } = rule;
  const from = textOf(question.name);
  if (!matches(match, from)) return undefined;
  const text = renamedText(match, from, to);
  const name = parseName(text);
  if (name === undefined) return 'invalid';
  const undos = [...autoUndos(rule, { from, text }), ...rule.answers.map(undoOf)];
  return { question: { ...question, name }, undos };
}

function renamedText(match: NameMatch, from: string, to: string): string {
  switch (match.how) {
    case 'exact':
      return to;
    case 'prefix':
      return to + from.slice(match.text.length);
    case 'suffix':
      return from.slice(0, from.length - match.text.length) + to;
    case 'substring':
      return from.replaceAll(match.text, () => to);
    default:
      return filled(to, match.pattern.exec(from)!);
  }
}

/** `{1}` is the first group of the expression. */
function filled(to: string, groups: readonly (string | undefined)[]): string {
  return to.replaceAll(/\{(\d+)\}/g, (whole, index: string) =>
    Number(index) < groups.length ? (groups[Number(index)] ?? '') : whole,
  );
}

/** Names that were made are turned back: the whole name, or for a suffix whatever ends in it. */
function autoUndos(
  rule: RewriteRule & { kind: 'name' },
  names: { from: string; text: string },
): Undo[] {
  const { match, to } = rule;
  if (!rule.auto && match.how !== 'exact') return [];
  const [made, original] = match.how === 'suffix' ? [to, match.text] : [names.text, names.from];
  const change = (text: string) => {
    const below = match.how === 'suffix' || made === '.' ? made : `.${made}`;
    if (text === made && match.how !== 'suffix') return original;
    if (!text.endsWith(below)) return text;
    return text.slice(0, text.length - made.length) + original;
  };
  return [
    { kind: 'name', change },
    { kind: 'value', change },
  ];
}

function undoOf({ part, pattern, to }: AnswerRewrite): Undo {
  const change = (text: string) => {
    const match = pattern.exec(text);
    return match === null ? text : filled(to, match);
  };
  return { kind: part, change };
}

/** The rules in reverse over every record, then over the rcode. */
function turnedBack(answer: Answer, undos: readonly Undo[]): Answer {
  const reversed = undos.toReversed();
  const records = (section: readonly ResourceRecord[]) =>
    section.map((record) => reversed.reduce(undone, record));
  const flags = reversed.reduce((all, undo) => {
    const fits =
      undo.kind === 'rcode' && (undo.from === undefined || undo.from === rcodeOf({ flags: all }));
    return fits ? (all & ~0xf) | undo.to : all;
  }, answer.flags);
  return {
    ...answer,
    flags,
    answers: records(answer.answers),
    authorities: records(answer.authorities),
    additionals: records(answer.additionals),
    sources: [...answer.sources, { stage: stageName }],
  };
}

function undone(record: ResourceRecord, undo: Undo): ResourceRecord {
  switch (undo.kind) {
    case 'name':
      return { ...record, name: changedName(record.name, undo.change) };
    case 'value':
      return changedValue(record, undo.change);
    case 'ttl':
      return { ...record, ttl: Math.min(undo.maxSeconds, Math.max(undo.minSeconds, record.ttl)) };
    default:
      return record;
  }
}

/** A name keeps its spelling unless it changes; one that would be none stays. */
function changedName(name: Name, change: (text: string) => string): Name {
  const text = formatName(name);
  const changed = change(text);
  return changed === text ? name : (parseName(changed) ?? name);
}

const valueTypes: ReadonlySet<number> = new Set([
  TYPE.SRV,
  TYPE.MX,
  TYPE.CNAME,
  TYPE.NS,
  TYPE.DNAME,
  TYPE.SOA,
  TYPE.PTR,
]);

/** The first name in the data: the target, or the primary server of a SOA. */
function changedValue(record: ResourceRecord, change: (text: string) => string): ResourceRecord {
  if (!valueTypes.has(record.type)) return record;
  const at = record.data.findIndex((part) => typeof part === 'string');
  if (at < 0) return record;
  return { ...record, data: record.data.with(at, changedName(String(record.data[at]), change)) };
}

type AliasRule = RewriteRule & { readonly kind: 'cname' };

/** An alias in the answer is led elsewhere, and what is found there takes the place of the rest. */
function withTargets(rules: readonly AliasRule[], answer: Answer, ask: Ask): Answered {
  for (const { match, to } of rules) {
    const at = answer.answers.findIndex(({ type, data }) => {
      return type === TYPE.CNAME && matches(match, textOf(String(data[0])));
    });
    if (at < 0) continue;
    const alias = answer.answers[at]!;
    const target = parseName(renamedText(match, textOf(String(alias.data[0])), to));
    if (target === undefined) continue;
    const question = { ...ask.query.question, name: target };
    const kept = [...answer.answers.slice(0, at), { ...alias, data: [target] }];
    const sources = [...answer.sources, { stage: stageName }];
    if (question.type === TYPE.CNAME) return { ...answer, answers: kept, sources };
    return whenDone(follow(ask, question), (found) => ({
      ...answer,
      answers: [...kept, ...found.answers],
      sources,
    }));
  }
  return answer;
}
