/** Raw output to log, and the log as `kubectl logs` wants it. */
import assert from 'node:assert/strict';
import {
  appendFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  statSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import fc from 'fast-check';
import { systemClock } from '../../lib/clock.ts';
import { limits } from '../../lib/limits.ts';
import { formatLogTime, linePartBytesMax, parseLogLine, splitOutput } from './cri-format.ts';
import { LogStore } from './log-store.ts';
import { readLog, type LogQuery } from './read-log.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-logs-'));
after(() => rmSync(dir, { recursive: true, force: true }));

const plain: LogQuery = {
  follow: false,
  timestamps: false,
  tailLines: undefined,
  sinceMs: undefined,
  limitBytes: undefined,
  stream: undefined,
};
let runs = 0;

function newRun(clock = systemClock) {
  runs += 1;
  const base = join(dir, `run${runs}`);
  mkdirSync(base);
  const raw = { stdout: join(base, 'c.stdout'), stderr: join(base, 'c.stderr') };
  appendFileSync(raw.stdout, '');
  appendFileSync(raw.stderr, '');
  const open = () => {
    const store = new LogStore(join(base, 'logs'), clock);
    store.follow('u/c/0', raw);
    return store;
  };
  return { raw, open, path: join(base, 'logs', 'u', 'c', '0.log') };
}

async function textOf(store: LogStore, query: Partial<LogQuery> = {}): Promise<string> {
  const parts: Buffer[] = [];
  const { signal } = new AbortController();
  for await (const part of readLog(store.place('u/c/0')!, { ...plain, ...query }, signal)) {
    parts.push(part);
  }
  return Buffer.concat(parts).toString();
}

test('[K24] the time has nanoseconds, as the CRI asks', () => {
  assert.equal(formatLogTime(0), '1970-01-01T00:00:00.000000000Z');
});

test('[K24] whatever is written comes out again, for any chunks', () => {
  const bytes = fc.string({ unit: 'binary-ascii', maxLength: 200 });
  fc.assert(
    fc.property(fc.array(bytes, { maxLength: 20 }), (chunks) => {
      let pending = '';
      let out = '';
      chunks.forEach((chunk, index) => {
        const raw = pending + chunk;
        const last = index === chunks.length - 1;
        const made = splitOutput(raw, { time: 'T', stream: 'stdout', last });
        pending = raw.slice(made.consumed);
        for (const line of made.entries.split('\n').slice(0, -1)) {
          const parsed = parseLogLine(line);
          out += parsed!.partial ? parsed!.text : `${parsed!.text}\n`;
        }
      });
      assert.equal(out + pending, chunks.join(''));
      assert.equal(pending, '');
    }),
  );
});

test('[K24] a line longer than a part is cut and joined again', async () => {
  const { raw, open } = newRun();
  const store = open();
  const long = `${'x'.repeat(linePartBytesMax * 2 + 5)}\n`;
  appendFileSync(raw.stdout, long);
  assert.equal(await textOf(store), long);
  store.close();
});

test('[K24] --tail, --since, --limit-bytes, --timestamps and one stream only', async () => {
  let now = 1_000_000;
  const { raw, open } = newRun({ ...systemClock, now: () => now });
  const store = open();
  appendFileSync(raw.stdout, 'one\ntwo\n');
  store.place('u/c/0')!.pipe!.drain();
  now += 5000;
  appendFileSync(raw.stderr, 'three\n');
  assert.equal(await textOf(store), 'one\ntwo\nthree\n');
  assert.equal(await textOf(store, { tailLines: 2 }), 'two\nthree\n');
  assert.equal(await textOf(store, { tailLines: 0 }), '');
  assert.equal(await textOf(store, { tailLines: 99 }), 'one\ntwo\nthree\n');
  assert.equal(await textOf(store, { sinceMs: 1_003_000 }), 'three\n');
  assert.equal(await textOf(store, { limitBytes: 6 }), 'one\ntw');
  assert.equal(await textOf(store, { stream: 'stderr' }), 'three\n');
  assert.equal(
    await textOf(store, { timestamps: true, tailLines: 1 }),
    '1970-01-01T00:16:45.000000000Z three\n',
  );
  store.close();
});

test('[K24] -f gives what is there, then each line at once, and ends with the container', async () => {
  const { raw, open } = newRun();
  const store = open();
  appendFileSync(raw.stdout, 'one\n');
  const following = textOf(store, { follow: true });
  await new Promise((resolve) => setTimeout(resolve, 50));
  appendFileSync(raw.stdout, 'two\nno newline');
  await new Promise((resolve) => setTimeout(resolve, 50));
  store.finish('u/c/0');
  assert.equal(await following, 'one\ntwo\nno newline');
  assert.equal(existsSync(raw.stdout), false);
  assert.equal(await textOf(store), 'one\ntwo\nno newline');
});

test('[K24] the watch alone, with nobody asking, brings output into the log', async () => {
  const { raw, open, path } = newRun();
  const store = open();
  await new Promise((resolve) => setImmediate(resolve));
  appendFileSync(raw.stderr, 'hello\n');
  const end = performance.now() + 3000;
  while (!existsSync(path) && performance.now() < end) {
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  assert.match(readFileSync(path, 'utf8'), /^\S+Z stderr F hello\n$/);
  store.close();
});

test('[K24] an agent killed between append and note neither loses nor doubles a line', async () => {
  const { raw, open, path } = newRun();
  const first = open();
  appendFileSync(raw.stdout, 'one\n');
  first.place('u/c/0')!.pipe!.drain();
  first.close();
  // What a killed agent leaves: an entry in the log that its position file does not know.
  appendFileSync(path, '2026-01-01T00:00:00.000000000Z stdout F two\n');
  appendFileSync(raw.stdout, 'two\nthree\n');
  const second = open();
  assert.equal(await textOf(second), 'one\ntwo\nthree\n');
  second.close();
});

test('[K24] a log past its size starts anew, keeps one predecessor, and loses no line', async () => {
  const { raw, open, path } = newRun();
  const store = open();
  const line = `${'y'.repeat(1000)}\n`;
  const count = Math.ceil((limits.logFileBytesMax * 1.2) / line.length);
  const following = textOf(store, { follow: true });
  for (let done = 0; done < count; done += 1000) {
    appendFileSync(raw.stdout, line.repeat(Math.min(1000, count - done)));
    store.place('u/c/0')!.pipe!.drain();
    await new Promise((resolve) => setImmediate(resolve));
  }
  assert.ok(existsSync(`${path}.1`));
  assert.ok(statSync(path).size <= limits.logFileBytesMax);
  assert.equal((await textOf(store)).length, count * line.length);
  assert.equal(await textOf(store, { tailLines: 1 }), line);
  // Consumed output was given back to the file system.
  assert.ok(statSync(raw.stdout).blocks * 512 < 3 * 1024 * 1024);
  store.finish('u/c/0');
  assert.equal((await following).length, count * line.length);
});

test('[K25] an attached client sees bytes at once, and all of them however slowly it reads', async () => {
  const { raw, open } = newRun();
  const store = open();
  const { pipe } = store.place('u/c/0')!;
  const left = new AbortController();
  const options = { fromStart: true, signal: left.signal };
  const output = pipe!.openOutput('stdout', options)!;
  const parts = output.read();
  appendFileSync(raw.stdout, '$ ');
  assert.equal((await parts.next()).value?.toString(), '$ ');
  const line = `${'x'.repeat(1023)}\n`;
  for (let count = 0; count < 3; count += 1) {
    appendFileSync(raw.stdout, line.repeat(1024));
    pipe!.drain();
  }
  const late = pipe!.openOutput('stdout', { ...options, fromStart: false })!;
  appendFileSync(raw.stdout, 'end');
  store.finish('u/c/0');
  const rest: Buffer[] = [];
  for await (const part of parts) rest.push(part);
  assert.ok(Buffer.concat(rest).toString() === `${line.repeat(3072)}end`);
  assert.equal((await late.read().next()).value?.toString(), 'end');
  left.abort();
  assert.equal(pipe!.openOutput('stdout', options), undefined);
});
