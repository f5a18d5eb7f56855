import assert from 'node:assert/strict';
import { test } from 'node:test';
import { textLine } from './log-text.ts';

const entry = {
  level: 'warn',
  time: '2026-11-27T02:12:36.567Z',
  component: 'proxy',
  service: 'shop/web',
  error: 'no such\nfile',
  port: 80,
  addresses: ['10.0.0.1'],
  msg: 'no health check port',
};

// Priorities: sd-daemon(3); one line is one entry.
const cases: { name: string; forJournal: boolean; want: string }[] = [
  {
    name: 'a terminal gets the time and the level',
    forJournal: false,
    want: '2026-11-27T02:12:36.567Z warn no health check port service=shop/web error="no such\\nfile" port=80 addresses="[\\"10.0.0.1\\"]"\n',
  },
  {
    name: 'the journal gets a priority',
    forJournal: true,
    want: '<4>no health check port service=shop/web error="no such\\nfile" port=80 addresses="[\\"10.0.0.1\\"]"\n',
  },
];

for (const { name, forJournal, want } of cases) {
  test(name, () => assert.equal(textLine(entry, { forJournal }), want));
}
