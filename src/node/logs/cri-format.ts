/**
 * The log format of the Container Runtime Interface: `<RFC 3339 time> <stream> <tag> <text>`, where
 * tag P marks a part of a line that goes on. Text stays bytes: it is carried as latin1.
 */
import { formatMicroTime } from '../../lib/clock.ts';

export type LogStream = 'stdout' | 'stderr';

export type LogLine = {
  readonly time: string;
  readonly stream: LogStream;
  /** The line goes on in the next entry. */
  readonly partial: boolean;
  readonly text: string;
};

/** A longer line is cut into parts, as containerd does. */
export const linePartBytesMax = 16 * 1024;

/** `2026-01-02T03:04:05.678000000Z`. */
export function formatLogTime(ms: number): string {
  return formatMicroTime(ms).replace('Z', '000Z');
}

export function formatLogLine(line: LogLine): string {
  return `${line.time} ${line.stream} ${line.partial ? 'P' : 'F'} ${line.text}\n`;
}

/** Undefined for a line no runtime wrote; the closing newline is not part of it. */
export function parseLogLine(line: string): LogLine | undefined {
  const match = /^(\S+) (stdout|stderr) ([PF])(?::\S*)? ?([^]*)$/.exec(line);
  if (match === null) return undefined;
  const [, time = '', stream, tag, text = ''] = match;
  return { time, stream: stream as LogStream, partial: tag === 'P', text };
}

/**
 * Cuts raw output into entries. What follows the last newline is left for later, unless `last` says
 * that no more will come or it is too long to wait.
 */
export function splitOutput(
  raw: string,
  options: { readonly time: string; readonly stream: LogStream; readonly last: boolean },
): { entries: string; consumed: number } {
  const { time, stream } = options;
  let entries = '';
  let position = 0;
  const put = (text: string, partial: boolean) => {
    entries += formatLogLine({ time, stream, partial, text });
  };
  while (position < raw.length) {
    const newline = raw.indexOf('\n', position);
    const end = newline < 0 ? raw.length : newline;
    if (end - position > linePartBytesMax) {
      put(raw.slice(position, position + linePartBytesMax), true);
      position += linePartBytesMax;
    } else if (newline >= 0) {
      put(raw.slice(position, end), false);
      position = end + 1;
    } else {
      // Without its newline the last line is marked as one that may go on.
      if (!options.last) break;
      put(raw.slice(position), true);
      position = raw.length;
    }
  }
  return { entries, consumed: position };
}
