/** Log lines for people and for journald, which has the time and the unit's name by itself. */
import { fstatSync, writeSync } from 'node:fs';

/** Priorities of syslog(3), as sd-daemon(3) wants them in front of a line. */
const PRIORITIES: Readonly<Record<string, number>> = {
  fatal: 2,
  error: 3,
  warn: 4,
  info: 6,
  debug: 7,
  trace: 7,
};

type Entry = Readonly<Record<string, unknown>>;

/** `2026-11-27T02:12:36.567Z warn sync failed error="…" retryMs=50` */
export function textLine(entry: Entry, { forJournal }: { forJournal: boolean }): string {
  const { level, time, msg, component: _, pid: __, hostname: ___, ...facts } = entry;
  const tail = Object.entries(facts).map(([name, value]) => ` ${name}=${show(value)}`);
  const words = `${typeof msg === 'string' ? msg.replaceAll('\n', ' ') : ''}${tail.join('')}`;
  if (forJournal) return `<${PRIORITIES[String(level)] ?? 6}>${words}\n`;
  return `${String(time)} ${String(level)} ${words}\n`;
}

/** A destination of JSON lines that writes them to standard error as text. */
export function textDestination(): { write: (line: string) => void } {
  const forJournal = isJournal();
  return {
    write(line) {
      const text = textLine(JSON.parse(line) as Entry, { forJournal });
      try {
        writeSync(2, text);
      } catch (error) {
        // A reader that is gone or behind must not end what is logged about.
        const { code } = error as NodeJS.ErrnoException;
        if (code !== 'EPIPE' && code !== 'EAGAIN') throw error;
      }
    },
  };
}

function show(value: unknown): string {
  const text = typeof value === 'string' ? value : (JSON.stringify(value) ?? String(value));
  return /^[\w.:/@%+-]+$/.test(text) ? text : JSON.stringify(text);
}

/** systemd tells which file standard error is when it leads to the journal (systemd.exec(5)). */
function isJournal(): boolean {
  const { dev, ino } = fstatSync(2);
  return process.env.JOURNAL_STREAM === `${dev}:${ino}`;
}
