import assert from 'node:assert/strict';
import { globSync, readFileSync } from 'node:fs';
import { test } from 'node:test';

/** Thrown as such, or handed on by a class of errors that has one code. */
const thrown =
  /(?:new (?:UserError|WorldError)\(|super\(|override readonly code =|readonly code =)\s*'([A-Z_]+)'/g;

test('docs/errors.md lists every code that the sources throw, and no other', () => {
  const sources = globSync('src/**/*.ts').filter((file) => !file.endsWith('.test.ts'));
  const codes = sources.flatMap((file) => codesOf(readFileSync(file, 'utf8'), thrown));
  const listed = codesOf(readFileSync('docs/errors.md', 'utf8'), /^\| `([A-Z_]+)` \|/gm);
  assert.ok(codes.length > 50);
  assert.deepEqual(listed.toSorted(), [...new Set(codes)].toSorted());
});

function codesOf(text: string, pattern: RegExp): string[] {
  return [...text.matchAll(pattern)].map((match) => match[1]!);
}
