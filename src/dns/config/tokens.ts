/** A Corefile as words, each with the place where it stands. */
import { UserError } from '../../lib/errors.ts';

export type Place = { readonly file: string; readonly line: number };

/** `begins`: it is the first of its line. */
export type Token = Place & { readonly text: string; readonly begins: boolean };

/**
 * Words are parted by space; one in double quotes may hold any, with `\"` for a quote. From `#` on a
 * line is a comment, even within a word. These are Caddy's rules (caddyfile/lexer.go).
 */
export function tokenize(text: string, file: string): Token[] {
  const tokens: Token[] = [];
  const source = text.replace(/^\uFEFF/, '').replaceAll('\r', '');
  let line = 1;
  let begins = true;
  // A quote is one at the beginning of a word only.
  for (const [part] of source.matchAll(/\n|[^\S\n]+|#.*|"(?:\\[^]|[^"\\])*"?|[^\s#"][^\s#]*/g)) {
    if (/^[^\s#]/.test(part)) {
      const isQuoted = part.startsWith('"');
      tokens.push({ file, line, begins, text: isQuoted ? unquoted(part) : part });
      begins = false;
    }
    if (part === '\n') begins = true;
    line += part.split('\n').length - 1;
  }
  return tokens;
}

function unquoted(part: string): string {
  const end = part.length > 1 && part.endsWith('"') ? -1 : undefined;
  return part.slice(1, end).replaceAll('\\"', '"');
}

/** The error of a Corefile that cannot be used, at the place where that shows. */
export function fault(at: Place, found: string, hint?: string): UserError {
  const text = `Cannot use Corefile "${at.file}": line ${at.line}: ${found}`;
  return new UserError('BAD_COREFILE', text, hint === undefined ? {} : { hint });
}
