/** Regular expressions as Go writes them. */
import { fault, type Token } from './tokens.ts';

/** The same expression here; throws at the token for one that is none. */
export function regExpOf(token: Token): RegExp {
  const { text } = token;
  if (text.length > 10_000)
    throw fault(token, 'a regular expression of more than 10000 characters');
  const [, flags = '', rest = ''] = /^(?:\(\?([imsU]+)\))?(.*)$/s.exec(text)!;
  // `(?P<name>…)`, `\A`, `\z` and POSIX classes are spelled otherwise; `U` has no like.
  const source = rest
    .replaceAll('(?P<', '(?<')
    .replaceAll(/\\[Az]/g, (mark) => (mark === '\\A' ? '^' : '$'))
    .replaceAll(/\[:(\w+):\]/g, (whole, name: string) => posixClasses[name] ?? whole);
  try {
    return new RegExp(source, flags.replaceAll('U', ''));
  } catch {
    throw fault(token, `"${text}" is not a regular expression`);
  }
}

const posixClasses: Record<string, string> = {
  alnum: '0-9A-Za-z',
  alpha: 'A-Za-z',
  digit: '0-9',
  lower: 'a-z',
  upper: 'A-Z',
  xdigit: '0-9A-Fa-f',
  word: '\\w',
  space: '\\s',
};
