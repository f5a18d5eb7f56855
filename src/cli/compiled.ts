/**
 * Files of the bundle with their bytecode beside them, both made by tools/bundle.ts: a process that starts
 * compiles nothing of ours, and where it runs nobody writes code. (The compile cache of Node holds only
 * what runs while a file loads, not the functions that are called later.)
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname } from 'node:path';
import { setFlagsFromString } from 'node:v8';
import { Script } from 'node:vm';

type Body = (
  exports: object,
  require: NodeJS.Require,
  module: { exports: object },
  filename: string,
  directory: string,
) => void;

/** Runs a CommonJS file; returns what it exports. Bytecode of another Node is passed over. */
export function loadCompiled(file: string): object {
  const body = scriptOf(file, readFileSync(codeFile(file))).runInThisContext() as Body;
  const module = { exports: {} };
  body(module.exports, createRequire(file), module, file, dirname(file));
  return module.exports;
}

/** Writes the bytecode of all functions of a CommonJS file beside it. */
export function writeCompiled(file: string): void {
  setFlagsFromString('--no-lazy');
  const script = scriptOf(file);
  // The bytecode names the flags it is good for: those of a process that starts.
  setFlagsFromString('--lazy');
  writeFileSync(codeFile(file), script.createCachedData());
}

function codeFile(file: string): string {
  return `${file}.code`;
}

function scriptOf(file: string, cachedData?: Buffer): Script {
  // The bundle is ASCII; as such it takes one byte a character in memory.
  const source = readFileSync(file, 'latin1');
  const wrapped = `(function (exports, require, module, __filename, __dirname) {${source}\n})`;
  return new Script(wrapped, {
    filename: file,
    ...(cachedData === undefined ? {} : { cachedData }),
  });
}
