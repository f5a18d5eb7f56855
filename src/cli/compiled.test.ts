import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import { loadCompiled, writeCompiled } from './compiled.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-compiled-'));
after(() => rmSync(dir, { recursive: true }));
writeFileSync(join(dir, 'other.cjs'), 'exports.name = "other"');
const file = join(dir, 'part.cjs');
writeFileSync(
  file,
  `exports.sum = (a, b) => a + b;
   exports.where = [__filename, __dirname, module.exports === exports];
   exports.other = require('./other.cjs').name;
   exports.never = () => { return 'compiled although nobody called it'; };`,
);
writeCompiled(file);

test('a file runs as a CommonJS module does', () => {
  const loaded = loadCompiled(file) as Record<string, unknown>;
  assert.equal((loaded.sum as (a: number, b: number) => number)(2, 3), 5);
  assert.deepEqual(loaded.where, [file, dir, true]);
  assert.equal(loaded.other, 'other');
});

test('the bytecode fits a process of ours, and holds functions that nobody called', () => {
  // In a process that has not compiled this text already.
  const script = `
    const { readFileSync } = require('node:fs');
    const { Script } = require('node:vm');
    const source = '(function (exports, require, module, __filename, __dirname) {' + readFileSync(${JSON.stringify(file)}, 'latin1') + '\\n})';
    const cachedData = readFileSync(${JSON.stringify(`${file}.code`)});
    const lazy = new Script(source, { filename: 'other' }).createCachedData().length;
    const { cachedDataRejected } = new Script(source, { filename: ${JSON.stringify(file)}, cachedData });
    console.log(JSON.stringify({ cachedDataRejected, more: cachedData.length - lazy }));`;
  const args = ['--max-semi-space-size=4', '-e', script];
  const seen = JSON.parse(execFileSync(process.execPath, args, { encoding: 'utf8' }));
  assert.equal(seen.cachedDataRejected, false);
  assert.ok(seen.more > 0, `${seen.more} bytes more than without them`);
});

test('bytecode that this Node cannot use is passed over', () => {
  writeFileSync(`${file}.code`, 'no bytecode at all');
  assert.equal((loadCompiled(file) as { other: string }).other, 'other');
});
