/** The output of echo containers: one line per request, gathered and written a few times a second. */
import { appendFile } from 'node:fs';

const FLUSH_MS = 100;
/** More lines than this between two writes are counted, not kept. */
const LINES_MAX = 200;

export type EchoLog = {
  note(line: string): void;
  /** Writes what is left. */
  close(): void;
};

/** A log that appends to `path` and never waits. */
export function openEchoLog(path: string): EchoLog {
  let lines: string[] = [];
  let dropped = 0;
  let timer: NodeJS.Timeout | undefined;
  const flush = () => {
    timer = undefined;
    if (dropped > 0) lines.push(`and ${dropped} more`);
    const text = lines.map((line) => `${line}\n`).join('');
    lines = [];
    dropped = 0;
    // The directory is gone when the pod is: then nobody reads this any more.
    if (text !== '') appendFile(path, text, () => undefined);
  };
  return {
    note(line) {
      if (lines.length < LINES_MAX) lines.push(line);
      else dropped += 1;
      timer ??= setTimeout(flush, FLUSH_MS).unref();
    },
    close() {
      clearTimeout(timer);
      flush();
    },
  };
}
