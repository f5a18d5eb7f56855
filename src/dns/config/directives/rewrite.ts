/** `rewrite [continue|stop] FIELD …`, on one line or in braces. */
import { nameOf, numberOf } from '../arguments.ts';
import { didYouMean } from '../did-you-mean.ts';
import type { Line } from '../parse.ts';
import { regExpOf } from '../regexp.ts';
import { fault, type Token } from '../tokens.ts';
import type { AnswerRewrite, NameMatch, RewriteRule } from '../types.ts';
import { formatName } from '../../wire/name.ts';
import { parseClass, parseRcode, parseType } from '../../wire/text.ts';

export function readRewrite(lines: readonly Line[]): RewriteRule[] {
  return lines.map((line) => {
    // In braces a rule may go over several lines.
    const words = [...line.words, ...line.body.flatMap((inner) => inner.words)];
    const [directive, ...args] = words;
    const mode = args[0]?.text.toLowerCase();
    const hasMode = mode === 'continue' || mode === 'stop';
    const [field, ...rest] = hasMode ? args.slice(1) : args;
    if (field === undefined) throw fault(directive!, '"rewrite" says not what to rewrite');
    return { last: mode !== 'continue', ...ruleOf(field, rest) } as RewriteRule;
  });
}

type Rule = { readonly kind: RewriteRule['kind'] };

const fieldReaders: Record<string, (field: Token, args: readonly Token[]) => Rule> = {
  name: readName,
  type: (field, args) => ({ kind: 'type', ...pairOf(field, args, (text) => parseType(text)) }),
  class: (field, args) => ({ kind: 'class', ...pairOf(field, args, (text) => parseClass(text)) }),
  ttl: readTtl,
  rcode: readRcode,
  cname: readCname,
};

function ruleOf(field: Token, args: readonly Token[]): Rule {
  const name = field.text.toLowerCase();
  const reader = Object.hasOwn(fieldReaders, name) ? fieldReaders[name] : undefined;
  if (reader !== undefined) return reader(field, args);
  const known = Object.keys(fieldReaders);
  const hint = didYouMean(name, known) ?? `There are: ${known.join(', ')}`;
  throw fault(field, `"${field.text}" cannot be rewritten`, hint);
}

function pairOf(
  field: Token,
  args: readonly Token[],
  parse: (text: string) => number | undefined,
): { from: number; to: number } {
  const [from, to] = counted(field, args, 2, 2).map((token) => {
    const value = parse(token.text);
    if (value !== undefined) return value;
    throw fault(token, `"${token.text}" is not a ${field.text} of DNS`);
  });
  return { from: from!, to: to! };
}

function counted(field: Token, args: readonly Token[], min: number, max: number) {
  if (args.length >= min && args.length <= max) return args;
  const range = min === max ? `${min}` : `${min} to ${max}`;
  throw fault(field, `"rewrite ${field.text}" takes ${range} arguments, it has ${args.length}`);
}

const kinds = ['exact', 'prefix', 'suffix', 'substring', 'regex'] as const;

/** Takes the kind of match off the front, if there is one. */
function kindOf(
  args: readonly Token[],
  withoutKind: number,
): [(typeof kinds)[number], readonly Token[]] {
  const [first, ...rest] = args;
  if (args.length === withoutKind) return ['exact', args];
  const found = kinds.find((kind) => kind === first?.text.toLowerCase());
  if (found !== undefined) return [found, rest];
  throw fault(first!, `"${first!.text}" must be one of: ${kinds.join(', ')}`);
}

function matchOf(how: (typeof kinds)[number], token: Token): NameMatch {
  if (how === 'regex') return { how, pattern: regExpOf(token) };
  return { how, text: dotted(token.text) };
}

/** In lower case, with the final dot that every name has when it is matched. */
function dotted(text: string): string {
  const lower = text.toLowerCase();
  return lower.endsWith('.') ? lower : `${lower}.`;
}

function readName(field: Token, args: readonly Token[]): Rule {
  if (args.length < 2) counted(field, args, 2, 3);
  const [how, [from, to, ...options]] = kindOf(args, 2);
  if (from === undefined || to === undefined) counted(field, args, 3, 3);
  const match = matchOf(how, from!);
  if (match.how === 'regex') checkGroups(to!, match.pattern);
  const { auto, answers } = answersOf(options);
  // A part of a name in front of others has no dot of its own.
  const part = how === 'prefix' || how === 'substring';
  const bare = (token: Token) => (part ? token.text.toLowerCase() : dotted(token.text));
  const found = match.how === 'regex' ? match : { ...match, text: bare(from!) };
  return { kind: 'name', match: found, to: bare(to!), auto, answers } as Rule;
}

function checkGroups(to: Token, pattern: RegExp): void {
  const groups = new RegExp(`${pattern.source}|`).exec('')!.length - 1;
  for (const [, index] of to.text.matchAll(/\{(\d+)\}/g)) {
    if (Number(index) <= groups) continue;
    throw fault(to, `"${to.text}" uses group ${index}, the expression has ${groups}`);
  }
}

/** `answer auto`, `answer name FROM TO`, `answer value FROM TO`; `answer` may be left out later. */
function answersOf(options: readonly Token[]): { auto: boolean; answers: AnswerRewrite[] } {
  const answers: AnswerRewrite[] = [];
  let auto = false;
  let at = 0;
  if (options.length > 0 && options[0]!.text !== 'answer') {
    throw fault(options[0]!, `"${options[0]!.text}" must be "answer"`);
  }
  while (at < options.length) {
    if (options[at]!.text === 'answer') at += 1;
    const what = options[at];
    if (what?.text === 'auto') {
      auto = true;
      at += 1;
    } else if (what?.text === 'name' || what?.text === 'value') {
      const [from, to] = [options[at + 1], options[at + 2]];
      if (from?.text === 'name' || (what.text === 'name' && from?.text === 'auto')) {
        auto ||= from.text === 'auto';
        at += 2;
        continue;
      }
      if (from === undefined || to === undefined) {
        throw fault(what, `"answer ${what.text}" takes an expression and a text`);
      }
      const pattern = regExpOf(from);
      checkGroups(to, pattern);
      answers.push({ part: what.text, pattern, to: dotted(to.text) });
      at += 3;
    } else {
      const place = what ?? options.at(-1)!;
      throw fault(place, `"${place.text}" must be one of: auto, name, value`);
    }
  }
  return { auto, answers };
}

/** `ttl [KIND] NAME SECONDS|MIN-MAX` */
function readTtl(field: Token, args: readonly Token[]): Rule {
  const [how, [name, range]] = kindOf(counted(field, args, 2, 3), 2);
  const [, min, max] = /^(\d*)-(\d*)$/.exec(range!.text) ?? [];
  const single = min === undefined ? numberOf(range!, { max: 2 ** 32 - 1 }) : undefined;
  const minSeconds = single ?? Number(min);
  const maxSeconds = single ?? (max === '' ? 2 ** 31 - 1 : Number(max));
  if (range!.text === '-' || minSeconds > maxSeconds) {
    throw fault(range!, `"${range!.text}" is not a range of seconds`);
  }
  return { kind: 'ttl', match: matchOf(how, name!), minSeconds, maxSeconds } as Rule;
}

/** `rcode [KIND] NAME FROM TO` */
function readRcode(field: Token, args: readonly Token[]): Rule {
  const [how, [name, from, to]] = kindOf(counted(field, args, 3, 4), 3);
  const [old, replacement] = [from!, to!].map((token) => {
    const rcode = /^\d+$/.test(token.text) ? Number(token.text) : parseRcode(token.text);
    if (rcode !== undefined && rcode < 16) return rcode;
    throw fault(token, `"${token.text}" is not an rcode`);
  });
  return { kind: 'rcode', match: matchOf(how, name!), from: old, to: replacement } as Rule;
}

/** `cname [KIND] FROM TO` */
function readCname(field: Token, args: readonly Token[]): Rule {
  const [how, [from, to]] = kindOf(counted(field, args, 2, 3), 2);
  const target = how === 'exact' ? formatName(nameOf(to!)) : to!.text.toLowerCase();
  const match = matchOf(how, from!);
  return { kind: 'cname', match, to: target } as Rule;
}
