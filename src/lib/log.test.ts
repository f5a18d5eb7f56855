import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { test } from 'node:test';
import { createLogger } from './log.ts';

/** What `speak` writes, one object per line. */
function written(level: string, speak: (log: ReturnType<typeof createLogger>) => void) {
  const lines: string[] = [];
  speak(createLogger('part', level, 'json', (line) => lines.push(line)));
  return lines.map((line) => {
    assert.ok(line.endsWith('\n') && !line.slice(0, -1).includes('\n'), 'one line');
    return JSON.parse(line) as Record<string, unknown>;
  });
}

test('a line has level, time, component, the facts and the message', () => {
  const [line] = written('info', (log) => log.warn({ port: 53, name: 'a\nb' }, 'taken'));
  const { time, ...rest } = line!;
  assert.deepEqual(rest, {
    level: 'warn',
    component: 'part',
    port: 53,
    name: 'a\nb',
    msg: 'taken',
  });
  assert.match(String(time), /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z$/);
});

const cases = [
  { level: 'debug', want: ['debug', 'info', 'warn', 'error', 'fatal'] },
  { level: 'info', want: ['info', 'warn', 'error', 'fatal'] },
  { level: 'error', want: ['error', 'fatal'] },
  { level: 'silent', want: [] },
  { level: 'no such level', want: ['info', 'warn', 'error', 'fatal'] },
];
for (const { level, want } of cases) {
  test(`level ${level} writes ${want.join(', ') || 'nothing'}`, () => {
    const lines = written(level, (log) => {
      for (const name of ['debug', 'info', 'warn', 'error', 'fatal'] as const) log[name]('x');
    });
    assert.deepEqual(
      lines.map((line) => line.level),
      want,
    );
  });
}

test('the level can be changed at any time', () => {
  const lines = written('error', (log) => {
    log.debug('unseen');
    log.level = 'debug';
    log.debug('seen');
  });
  assert.deepEqual(
    lines.map((line) => line.msg),
    ['seen'],
  );
});

test('an error shows its message and stack, a bigint its digits', () => {
  const [line] = written('info', (log) => log.error({ err: new Error('no'), size: 5n }, 'bad'));
  const err = line?.err as { message: string; stack: string };
  assert.equal(err.message, 'no');
  assert.match(err.stack, /log\.test\.ts/);
  assert.equal(line?.size, '5');
});

test('what JSON cannot say does not hide the message', () => {
  const circle: Record<string, unknown> = {};
  circle.self = circle;
  const [line] = written('info', (log) => log.error({ circle, name: 'n' }, 'still here'));
  assert.equal(line?.msg, 'still here');
  assert.equal(line?.name, 'n');
  assert.match(String(line?.facts), /circular/i);
});

test('lines go to standard error; a full disk breaks nothing', () => {
  const script = `const { createLogger } = await import(${JSON.stringify(import.meta.resolve('./log.ts'))});
    createLogger('part', 'info').info({ n: 1 }, 'here'); process.stdout.write('went on');`;
  const args = ['--input-type=module', '-e', script];
  const seen = spawnSync(process.execPath, args, { encoding: 'utf8' });
  assert.match(seen.stderr, /^\{"level":"info",.*"n":1,"msg":"here"\}\n$/);
  assert.equal(seen.stdout, 'went on');
  const command = `exec "$0" "$@" 2>/dev/full`;
  const full = spawnSync('sh', ['-c', command, process.execPath, ...args], { encoding: 'utf8' });
  assert.equal(full.stdout, 'went on');
});
