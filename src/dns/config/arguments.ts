/** Reads the words of a directive; whatever is not as it must be is said with its place. */
import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';

import { messageOf } from '../../lib/errors.ts';
import { familyOf } from '../../lib/ip.ts';
import { foldCase, parseName, type Name } from '../wire/name.ts';
import { didYouMean } from './did-you-mean.ts';
import type { Line } from './parse.ts';
import { fault, type Token } from './tokens.ts';
import type { HostPort } from './types.ts';
import { reverseZonesOf } from './reverse-zones.ts';

/** The words behind the first, if there are as many as there may be. */
export function argumentsOf(
  line: Line,
  { min = 0, max = Infinity }: { readonly min?: number; readonly max?: number },
): readonly Token[] {
  const [name, ...args] = line.words;
  if (args.length >= min && args.length <= max) return args;
  throw fault(name!, `"${name!.text}" takes ${rangeText(min, max)}, it has ${args.length}`);
}

function rangeText(min: number, max: number): string {
  const words = max === 1 ? 'argument' : 'arguments';
  if (min === max) return min === 0 ? 'no argument' : `${min} ${words}`;
  if (max === Infinity) return min === 1 ? 'an argument' : `${min} arguments or more`;
  return min === 0 ? `${max} ${words} at most` : `${min} to ${max} ${words}`;
}

/** The one argument of a line. */
export function argumentOf(line: Line): Token {
  return argumentsOf(line, { min: 1, max: 1 })[0]!;
}

/** Calls the reader of each line in the braces, by its first word. */
export function readProperties(
  line: Line,
  readers: Readonly<Record<string, (line: Line) => void>>,
): void {
  for (const inner of line.body) {
    const [name] = inner.words;
    const reader = Object.hasOwn(readers, name!.text) ? readers[name!.text] : undefined;
    if (reader === undefined) throw unknownProperty(line, name!, Object.keys(readers));
    reader(inner);
  }
}

function unknownProperty(line: Line, name: Token, known: readonly string[]) {
  const found = `unknown property "${name.text}" of "${line.words[0]!.text}"`;
  return fault(name, found, didYouMean(name.text, known) ?? `There are: ${known.join(', ')}`);
}

/** A directive that may stand once in a block. */
export function onlyOne(lines: readonly Line[]): Line {
  const [first, second] = lines;
  if (second === undefined) return first!;
  const [name] = second.words;
  throw fault(
    name!,
    `"${name!.text}" stands in this block already, at line ${first!.words[0]!.line}`,
  );
}

/** A property that is on when it is there. */
export function flagOf(line: Line): true {
  argumentsOf(line, { max: 0 });
  return true;
}

export function numberOf(
  token: Token,
  { min = 0, max = Number.MAX_SAFE_INTEGER }: { readonly min?: number; readonly max?: number } = {},
): number {
  const value = Number(token.text);
  if (/^-?\d+$/.test(token.text) && value >= min && value <= max) return value;
  const range = max === Number.MAX_SAFE_INTEGER ? `from ${min} on` : `between ${min} and ${max}`;
  throw fault(token, `"${token.text}" must be a whole number ${range}`);
}

const unitMs = { ns: 1e-6, us: 1e-3, µs: 1e-3, ms: 1, s: 1000, m: 60_000, h: 3_600_000 } as const;

/** Milliseconds of a duration such as `1h30m`, `1.5s` or `0`. */
export function durationOf(token: Token, { minMs = 0 }: { readonly minMs?: number } = {}): number {
  const { text } = token;
  const parts = [...text.matchAll(/(\d+(?:\.\d*)?|\.\d+)(ns|us|µs|ms|s|m|h)/g)];
  const whole = parts.map(([part]) => part).join('');
  if (text !== '0' && (text === '' || whole !== text)) {
    throw fault(token, `"${text}" must be a duration`, 'Write it like 500ms, 30s or 1h30m');
  }
  const ms = parts.reduce((sum, [, count, unit]) => {
    return sum + Number(count) * unitMs[unit as keyof typeof unitMs];
  }, 0);
  if (ms < minMs) throw fault(token, `"${text}" must be at least ${minMs / 1000}s`);
  return ms;
}

export function oneOf<T extends string>(token: Token, allowed: readonly T[]): T {
  const found = allowed.find((value) => value === token.text);
  if (found !== undefined) return found;
  const known = allowed.join(', ');
  throw fault(token, `"${token.text}" must be one of: ${known}`, didYouMean(token.text, allowed));
}

/** A domain name, folded. */
export function nameOf(token: Token): Name {
  const name = parseName(token.text);
  if (name !== undefined && token.text !== '') return foldCase(name);
  throw fault(token, `"${token.text}" is not a domain name`);
}

/** A domain name, or the reverse zones of an address range such as 10.0.0.0/16 (D60). */
export function zonesOf(token: Token): readonly Name[] {
  const { text } = token;
  if (!text.includes('/')) return [nameOf(token)];
  const zones = reverseZonesOf(text);
  if (zones !== undefined) return zones;
  throw fault(token, `"${text}" is neither a domain name nor an address range`);
}

/** `:8080` or `127.0.0.1:8080` or `localhost:8080`; without a host all addresses. */
export function hostPortOf(token: Token, anyHost: string): HostPort {
  const [, bracketed, plain, port] = /^(?:\[([^\]]*)\]|([^:]*)):(\d{1,5})$/.exec(token.text) ?? [];
  const host = bracketed ?? plain;
  const isHost = host === '' || host === 'localhost' || familyOf(host ?? '') !== undefined;
  if (port === undefined || Number(port) > 65_535 || !isHost) {
    throw fault(token, `"${token.text}" must be an address and a port`, 'Write it like :8080');
  }
  const found = host === 'localhost' ? '127.0.0.1' : host!;
  return { host: found === '' ? anyHost : found, port: Number(port) };
}

/** The text of a file named in the Corefile, relative to the Corefile. */
export function readNamedFile(token: Token): string {
  try {
    return readFileSync(pathOf(token), 'utf8');
  } catch (error) {
    throw fault(token, `cannot read "${token.text}": ${messageOf(error)}`);
  }
}

export function pathOf(token: Token): string {
  return isAbsolute(token.text) ? token.text : join(dirname(token.file), token.text);
}
