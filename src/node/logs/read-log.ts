/** Serves one log as `kubectl logs` asks for it (A98, K24). */
import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { parseLogLine, type LogLine, type LogStream } from './cri-format.ts';
import type { LogPlace } from './log-store.ts';

export type LogQuery = {
  readonly follow: boolean;
  readonly timestamps: boolean;
  readonly tailLines: number | undefined;
  /** Milliseconds since the epoch. */
  readonly sinceMs: number | undefined;
  readonly limitBytes: number | undefined;
  readonly stream: LogStream | undefined;
};

const chunkBytes = 64 * 1024;

/** The log's text in pieces; with `follow` it ends when the container does, or the reader leaves. */
export async function* readLog(
  place: LogPlace,
  query: LogQuery,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let leftBytes = query.limitBytes ?? Number.POSITIVE_INFINITY;
  for await (const lines of entries(place, query, signal)) {
    const text = lines.map((line) => textOf(line, query.timestamps)).join('');
    const bytes = Buffer.from(text, 'latin1').subarray(0, Math.min(leftBytes, text.length));
    if (bytes.length > 0) yield bytes;
    leftBytes -= bytes.length;
    if (leftBytes <= 0) return;
  }
}

function textOf(line: LogLine, timestamps: boolean): string {
  const text = line.partial ? line.text : `${line.text}\n`;
  return timestamps ? `${line.time} ${text}` : text;
}

async function* entries(
  place: LogPlace,
  query: LogQuery,
  signal: AbortSignal,
): AsyncGenerator<LogLine[]> {
  place.pipe?.drain();
  const older = `${place.path}.1`;
  const start = startOf(place.path, older, query.tailLines);
  if (start.older !== undefined && existsSync(older)) {
    using file = new LogFile(older, start.older);
    yield* wanted(file, query);
  }
  using current = new LogFile(place.path, start.current);
  yield* wanted(current, query);
  if (query.follow && place.pipe !== undefined) yield* followed(place, current, query, signal);
}

function* wanted(file: LogFile, query: LogQuery): Generator<LogLine[]> {
  for (let lines = file.next(); lines !== undefined; lines = file.next()) {
    yield lines.filter((line) => {
      if (query.stream !== undefined && line.stream !== query.stream) return false;
      return query.sinceMs === undefined || Date.parse(line.time) >= query.sinceMs;
    });
  }
}

async function* followed(
  { pipe, path }: LogPlace,
  first: LogFile,
  query: LogQuery,
  signal: AbortSignal,
): AsyncGenerator<LogLine[]> {
  if (pipe === undefined) return;
  let wake = Promise.withResolvers<void>();
  const notify = () => wake.resolve();
  const unlisten = pipe.onChange(notify);
  signal.addEventListener('abort', notify);
  let file = first;
  let { rotations } = pipe;
  try {
    while (!signal.aborted) {
      wake = Promise.withResolvers<void>();
      const { finished } = pipe;
      const rotated = pipe.rotations !== rotations;
      yield* wanted(file, query);
      if (rotated) {
        // The old file has been read to its end through its own descriptor.
        ({ rotations } = pipe);
        file.close();
        file = new LogFile(path, 0);
        continue;
      }
      if (finished) return;
      await wake.promise;
    }
  } finally {
    unlisten();
    signal.removeEventListener('abort', notify);
    file.close();
  }
}

/** Where reading begins: offsets into both files; `older` undefined leaves that one out. */
function startOf(
  path: string,
  older: string,
  tailLines: number | undefined,
): { older: number | undefined; current: number } {
  if (tailLines === undefined) return { older: 0, current: 0 };
  const inCurrent = tailOffset(path, tailLines);
  if (inCurrent.missing === 0) return { older: undefined, current: inCurrent.offset };
  return { older: tailOffset(older, inCurrent.missing).offset, current: 0 };
}

/** The offset of the line that is `count` from the end, and how many lines the file lacks. */
function tailOffset(path: string, count: number): { offset: number; missing: number } {
  const fd = openIfPresent(path);
  if (fd === undefined) return { offset: 0, missing: count };
  try {
    const { size } = fstatSync(fd);
    if (count === 0) return { offset: size, missing: 0 };
    const buffer = Buffer.allocUnsafe(chunkBytes);
    let seen = 0;
    for (let end = size; end > 0; end -= Math.min(end, chunkBytes)) {
      const start = Math.max(0, end - chunkBytes);
      readSync(fd, buffer, 0, end - start, start);
      for (let index = end - start - 1; index >= 0; index -= 1) {
        if (buffer[index] !== 0x0a) continue;
        // The newline before the wanted line ends the line in front of it.
        if (seen === count) return { offset: start + index + 1, missing: 0 };
        seen += 1;
      }
    }
    return { offset: 0, missing: count - seen };
  } finally {
    closeSync(fd);
  }
}

/** Reads whole entries from an open file; the descriptor outlives a rotation. */
class LogFile {
  readonly #path: string;
  #fd: number | undefined;
  #offset: number;
  readonly #buffer = Buffer.allocUnsafe(chunkBytes);

  constructor(path: string, offset: number) {
    this.#path = path;
    this.#offset = offset;
    this.#fd = openIfPresent(path);
  }

  /** The next entries, or undefined at the end of what is written so far. */
  next(): LogLine[] | undefined {
    this.#fd ??= openIfPresent(this.#path);
    if (this.#fd === undefined) return undefined;
    const count = readSync(this.#fd, this.#buffer, 0, chunkBytes, this.#offset);
    const end = this.#buffer.subarray(0, count).lastIndexOf(0x0a) + 1;
    if (end === 0) return undefined;
    this.#offset += end;
    const lines = this.#buffer.toString('latin1', 0, end - 1).split('\n');
    return lines.map(parseLogLine).filter((line) => line !== undefined);
  }

  close(): void {
    if (this.#fd !== undefined) closeSync(this.#fd);
    this.#fd = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function openIfPresent(path: string): number | undefined {
  try {
    return openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
