/** From words to server blocks with their lines; imports and variables are replaced here. */
import { readFileSync } from 'node:fs';
import { dirname, isAbsolute, join } from 'node:path';

import { messageOf } from '../../lib/errors.ts';
import { globFiles } from './glob.ts';
import { fault, tokenize, type Place, type Token } from './tokens.ts';

/** A line of a block: its words, and the lines in the braces at its end. */
export type Line = { readonly words: readonly Token[]; readonly body: readonly Line[] };

export type RawBlock = {
  readonly at: Place;
  /** Zones with scheme and port, as written. */
  readonly keys: readonly Token[];
  readonly lines: readonly Line[];
};

export type ParseOptions = {
  readonly env: Readonly<Record<string, string | undefined>>;
  /** Something that is allowed and yet hardly meant. */
  readonly warn: (text: string) => void;
};

/** Imports in all: a file that imports itself must end. */
const importsMax = 1000;

/** Reads the blocks of a Corefile and of the files it imports. */
export function parseBlocks(text: string, file: string, options: ParseOptions): RawBlock[] {
  return new Parser(tokenize(text, file), options).blocks();
}

class Parser {
  readonly #tokens: Token[];
  readonly #options: ParseOptions;
  readonly #snippets = new Map<string, readonly Token[]>();
  #at = 0;
  #imports = 0;

  constructor(tokens: Token[], options: ParseOptions) {
    this.#tokens = tokens;
    this.#options = options;
  }

  blocks(): RawBlock[] {
    const blocks: RawBlock[] = [];
    for (;;) {
      const first = this.#peek();
      if (first === undefined) return blocks;
      const keys = this.#keys(first);
      const name = keys.length === 1 ? /^\((.*)\)$/.exec(keys[0]!.text)?.[1] : undefined;
      if (name === undefined) blocks.push({ at: first, keys, lines: this.#contents() });
      else this.#defineSnippet(name, keys[0]!);
    }
  }

  /** The words before the brace; after a comma more may follow on the next line. */
  #keys(first: Token): Token[] {
    const keys: Token[] = [];
    let more = true;
    for (;;) {
      const token = this.#peek();
      if (token === undefined || token.text === '{') break;
      if (token.text === '}') throw fault(token, 'this "}" closes nothing');
      if (keys.length > 0 && !more && token.begins) break;
      this.#at += 1;
      more = token.text.endsWith(',');
      const text = more ? token.text.slice(0, -1) : token.text;
      if (text !== '') keys.push({ ...token, text });
    }
    if (keys.length === 0) throw fault(first, 'a block has no zone before its "{"');
    return keys;
  }

  /** Without braces everything to the end of the file belongs to the block. */
  #contents(): Line[] {
    const open = this.#peek();
    if (open?.text !== '{') return this.#lines(undefined);
    this.#at += 1;
    return this.#lines(open);
  }

  /** Lines up to the closing brace of `open`. */
  #lines(open: Token | undefined): Line[] {
    const lines: Line[] = [];
    for (;;) {
      const token = this.#peek();
      if (token === undefined) {
        if (open === undefined) return lines;
        throw fault(open, 'this "{" is never closed');
      }
      if (token.text === '}') {
        if (open === undefined) throw fault(token, 'this "}" closes nothing');
        this.#at += 1;
        return lines;
      }
      lines.push(this.#line());
    }
  }

  #line(): Line {
    const words: Token[] = [this.#tokens[this.#at]!];
    this.#at += 1;
    for (;;) {
      const token = this.#tokens[this.#at];
      if (token === undefined || token.begins) return { words, body: [] };
      // A brace that closes the block on the line of its last property.
      if (token.text === '}') return { words, body: [] };
      this.#at += 1;
      if (token.text === '{') return { words, body: this.#lines(token) };
      words.push(this.#replaced(token));
    }
  }

  /** The next token, with imports and variables replaced. */
  #peek(): Token | undefined {
    for (;;) {
      const token = this.#tokens[this.#at];
      if (token === undefined) return undefined;
      if (token.text === 'import' && token.begins) {
        this.#import(token);
        continue;
      }
      const replaced = this.#replaced(token);
      this.#tokens[this.#at] = replaced;
      return replaced;
    }
  }

  /** `{$NAME}` and `{%NAME%}` are variables of the environment; one that is not set is empty. */
  #replaced(token: Token): Token {
    if (!token.text.includes('{')) return token;
    const text = token.text.replaceAll(/\{\$([^}]+)\}|\{%([^%]+)%\}/g, (_, unix, windows) => {
      return this.#options.env[(unix ?? windows) as string] ?? '';
    });
    return { ...token, text };
  }

  #defineSnippet(name: string, at: Token): void {
    if (this.#snippets.has(name)) throw fault(at, `snippet "${name}" is there already`);
    const open = this.#tokens[this.#at];
    if (open?.text !== '{') throw fault(at, `snippet "${name}" has no "{" behind it`);
    const start = this.#at + 1;
    let depth = 0;
    for (let at = this.#at; at < this.#tokens.length; at += 1) {
      const { text } = this.#tokens[at]!;
      if (text === '{') depth += 1;
      if (text === '}') depth -= 1;
      if (depth > 0) continue;
      this.#snippets.set(name, this.#tokens.slice(start, at));
      this.#at = at + 1;
      return;
    }
    throw fault(open, 'this "{" is never closed');
  }

  /** Puts what is imported in the place of `import NAME`. */
  #import(token: Token): void {
    const what = this.#tokens[this.#at + 1];
    if (what === undefined || what.begins) {
      throw fault(token, '"import" names no file and no snippet');
    }
    const after = this.#tokens[this.#at + 2];
    if (after !== undefined && !after.begins && after.text !== '}') {
      throw fault(after, `"import" takes one argument, it has "${after.text}" too`);
    }
    this.#imports += 1;
    if (this.#imports > importsMax) throw fault(token, `more than ${importsMax} imports`);
    const { text } = this.#replaced(what);
    const [first, ...more] = this.#snippets.get(text) ?? this.#fileTokens(text, what);
    const tokens = first === undefined ? [] : [{ ...first, begins: true }, ...more];
    this.#tokens.splice(this.#at, 2, ...tokens);
  }

  #fileTokens(pattern: string, at: Token): Token[] {
    const path = isAbsolute(pattern) ? pattern : join(dirname(at.file), pattern);
    const files = globFiles(path);
    if (files.length === 0) {
      if (!/[*?[\]]/.test(pattern)) {
        throw fault(at, `file to import not found: "${pattern}"`);
      }
      this.#options.warn(`${at.file}:${at.line}: no file matches import "${pattern}"`);
    }
    return files.flatMap((file) => {
      try {
        return tokenize(readFileSync(file, 'utf8'), file);
      } catch (error) {
        throw fault(at, `cannot import "${file}": ${messageOf(error)}`);
      }
    });
  }
}
