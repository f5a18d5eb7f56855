/**
 * The part of Go's text/template that records in a Corefile are written with: fields, `index`,
 * `parseInt`, and texts between them. Loops and conditions are refused when the file is read.
 */

/** What a record may be made of. */
export type TemplateFacts = {
  readonly Zone: string;
  readonly Name: string;
  readonly Class: string;
  readonly Type: string;
  readonly Remote: string;
  readonly Match: readonly string[];
  readonly Group: Readonly<Record<string, string>>;
};

export type GoTemplate = { readonly text: string; readonly fill: (facts: TemplateFacts) => string };

type Value = (facts: TemplateFacts) => unknown;

/** Throws an error that says what is wrong with the text. */
export function parseGoTemplate(text: string): GoTemplate {
  const parts: Value[] = [];
  let at = 0;
  for (const match of text.matchAll(/(\s*)\{\{(-\s)?(.*?)(\s-)?\}\}(\s*)/gs)) {
    const [whole, before = '', trimBefore, inner = '', trimAfter, after = ''] = match;
    const literal = text.slice(at, match.index) + (trimBefore === undefined ? before : '');
    parts.push(() => literal, valueOf(inner.trim()));
    if (trimAfter === undefined && after !== '') parts.push(() => after);
    at = match.index + whole.length;
  }
  const rest = text.slice(at);
  if (rest.includes('{{')) throw new Error('a "{{" is never closed');
  parts.push(() => rest);
  return { text, fill: (facts) => parts.map((part) => textOf(part(facts))).join('') };
}

function textOf(value: unknown): string {
  if (typeof value === 'string') return value;
  return value === undefined ? '<no value>' : JSON.stringify(value);
}

/** One action: a value, or a function with values. */
function valueOf(action: string): Value {
  const words = [...action.matchAll(/"(?:\\.|[^"\\])*"|`[^`]*`|[^\s"`]+/g)].map(([word]) => word);
  const [first, ...args] = words;
  if (first === undefined) throw new Error('an empty "{{ }}"');
  const values = args.map(operand);
  if (first === 'index') return indexed(values);
  if (first === 'parseInt') return parsedInt(values);
  if (first === 'print' || first === 'printf') throw new Error(`"${first}" is not supported here`);
  if (args.length > 0) throw new Error(`"${first}" takes no argument, or is not supported here`);
  return operand(first);
}

const fields = ['Zone', 'Name', 'Class', 'Type', 'Remote', 'Match', 'Group'] as const;

function operand(word: string): Value {
  if (/^\d+$/.test(word)) return () => Number(word);
  if (/^["`]/.test(word)) {
    const text = word.startsWith('"') ? String(JSON.parse(word)) : word.slice(1, -1);
    return () => text;
  }
  const [, name, key] = /^\.(\w+)(?:\.(\w+))?$/.exec(word) ?? [];
  const field = fields.find((known) => known === name);
  if (field === undefined || (key !== undefined && field !== 'Group')) {
    const known = fields.map((one) => `.${one}`).join(', ');
    throw new Error(`"${word}" is not known, there are: ${known}, index, parseInt`);
  }
  return (facts) => (key === undefined ? facts[field] : facts.Group[key]);
}

function indexed([list, at, ...more]: readonly Value[]): Value {
  if (list === undefined || at === undefined || more.length > 0) {
    throw new Error('"index" takes a list and a place in it');
  }
  return (facts) => (list(facts) as Record<string, string>)[at(facts) as string];
}

/** `parseInt TEXT BASE BITS` */
function parsedInt([text, base, bits]: readonly Value[]): Value {
  if (text === undefined || base === undefined || bits === undefined) {
    throw new Error('"parseInt" takes a text, a base and a number of bits');
  }
  return (facts) => {
    const found = Number.parseInt(String(text(facts)), Number(base(facts)));
    if (Number.isNaN(found) || found >= 2 ** Number(bits(facts))) {
      throw new Error(`"${String(text(facts))}" is no such number`);
    }
    return found;
  };
}
