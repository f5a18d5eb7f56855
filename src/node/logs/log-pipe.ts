/**
 * Turns the raw output files of one container run into one log with times. The raw files belong to
 * the container and go on growing without us; a position file makes every line come exactly once
 * even when the agent is killed between two steps.
 */
import {
  closeSync,
  existsSync,
  fstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  renameSync,
  rmSync,
  statSync,
  truncateSync,
  watch,
  writeFileSync,
  writeSync,
  type FSWatcher,
} from 'node:fs';
import { basename, dirname } from 'node:path';
import type { Clock } from '../../lib/clock.ts';
import { limits } from '../../lib/limits.ts';
import { punchHole } from '../../kernel/ffi/fallocate.ts';
import { formatLogTime, splitOutput, type LogStream } from './cri-format.ts';
import { RawOutput, type OutputOptions } from './raw-output.ts';

type Raw = {
  readonly stream: LogStream;
  readonly path: string;
  offset: number;
  punched: number;
  readonly readers: Set<RawOutput>;
};

export type LogPipeOptions = {
  readonly raw: { readonly stdout: string; readonly stderr: string };
  /** The finished log; its predecessor after a rotation has `.1` behind it. */
  readonly path: string;
  readonly clock: Clock;
};

/** Read at once; between two chunks other work gets its turn. */
const chunkBytes = 64 * 1024;
/** Consumed output is given back to the file system in steps of this. */
const punchBytes = 1024 * 1024;

export class LogPipe {
  readonly path: string;
  readonly #clock: Clock;
  readonly #raws: Raw[];
  readonly #positionPath: string;
  readonly #listeners = new Set<() => void>();
  readonly #growthListeners = new Set<() => void>();
  #watcher: FSWatcher | undefined;
  #size = 0;
  #rotations = 0;
  #scheduled = false;
  #finished = false;

  constructor(options: LogPipeOptions) {
    this.path = options.path;
    this.#clock = options.clock;
    this.#positionPath = `${options.path}.position`;
    const { stdout, stderr } = options.raw;
    this.#raws = [
      { stream: 'stdout', path: stdout, offset: 0, punched: 0, readers: new Set() },
      { stream: 'stderr', path: stderr, offset: 0, punched: 0, readers: new Set() },
    ];
    mkdirSync(dirname(this.path), { recursive: true, mode: 0o700 });
    this.#restore();
    this.#watch(dirname(stdout));
    this.#schedule();
  }

  get finished(): boolean {
    return this.#finished;
  }

  /** Counts up whenever the log starts anew and the old one becomes `.1`. */
  get rotations(): number {
    return this.#rotations;
  }

  /** Calls back after every append, and when the run is over. */
  onChange(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** The raw output for a reader that does not wait for whole lines; undefined when it is gone. */
  openOutput(stream: LogStream, options: OutputOptions): RawOutput | undefined {
    const raw = this.#raws.find((one) => one.stream === stream);
    if (raw === undefined || this.#finished || !existsSync(raw.path)) return undefined;
    const output = new RawOutput(
      {
        path: raw.path,
        firstOffset: raw.punched,
        isFinished: () => this.#finished,
        onMore: (listener) => this.#onGrowth(listener),
      },
      { ...options, onClose: (closed) => raw.readers.delete(closed) },
    );
    raw.readers.add(output);
    return output;
  }

  /** Takes in all that was written so far. */
  drain(): void {
    while (this.#step(false));
  }

  /** The container has ended: takes in the rest and deletes the raw files. */
  finish(): void {
    if (this.#finished) return;
    while (this.#step(true));
    this.#finished = true;
    this.#watcher?.close();
    for (const raw of this.#raws) rmSync(raw.path, { force: true });
    rmSync(this.#positionPath, { force: true });
    this.#tell();
  }

  /** Leaves everything to the next agent. */
  close(): void {
    this.#finished = true;
    this.#watcher?.close();
    this.#tell();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #onGrowth(listener: () => void): () => void {
    this.#growthListeners.add(listener);
    return () => this.#growthListeners.delete(listener);
  }

  #watch(dir: string): void {
    if (!existsSync(dir)) return;
    const names = this.#raws.map((raw) => basename(raw.path));
    this.#watcher = watch(dir, { persistent: false }, (_event, name) => {
      if (name !== null && !names.includes(name)) return;
      this.#schedule();
      for (const listener of this.#growthListeners) listener();
    });
    // A directory that vanishes under us ends the watch; the exit of the container ends the pipe.
    this.#watcher.on('error', () => this.#watcher?.close());
  }

  #schedule(): void {
    if (this.#scheduled || this.#finished) return;
    this.#scheduled = true;
    setImmediate(() => {
      this.#scheduled = false;
      if (!this.#finished && this.#step(false)) this.#schedule();
    });
  }

  /** One chunk of each stream; says whether there may be more. */
  #step(last: boolean): boolean {
    let entries = '';
    let more = false;
    for (const raw of this.#raws) {
      const { text, atEnd } = readFrom(raw.path, raw.offset);
      if (text === '') continue;
      const time = formatLogTime(this.#clock.now());
      const options = { time, stream: raw.stream, last: last && atEnd };
      const { entries: made, consumed } = splitOutput(text, options);
      entries += made;
      raw.offset += consumed;
      more ||= consumed > 0 && !atEnd;
    }
    if (entries === '') return false;
    this.#append(Buffer.from(entries, 'latin1'));
    this.#punch();
    this.#tell();
    return more;
  }

  #append(bytes: Buffer): void {
    if (this.#size + bytes.length > limits.logFileBytesMax && this.#size > 0) this.#rotate();
    const fd = openSync(this.path, 'a', 0o600);
    try {
      writeSync(fd, bytes);
    } finally {
      closeSync(fd);
    }
    this.#size += bytes.length;
    this.#savePosition();
  }

  #rotate(): void {
    renameSync(this.path, `${this.path}.1`);
    this.#size = 0;
    this.#rotations += 1;
  }

  #savePosition(): void {
    const [stdout, stderr] = this.#raws;
    // Fixed width, so that one write replaces the whole content.
    const numbers = [this.#size, stdout?.offset ?? 0, stderr?.offset ?? 0];
    const text = numbers.map((n) => String(n).padStart(16)).join(' ');
    writeFileSync(this.#positionPath, text, { flag: this.#hasPosition() ? 'r+' : 'w' });
  }

  #hasPosition(): boolean {
    return existsSync(this.#positionPath);
  }

  /** An append whose position was not noted is undone: its lines come again from the raw file. */
  #restore(): void {
    if (!this.#hasPosition()) return;
    const [size = 0, stdout = 0, stderr = 0] = readFileSync(this.#positionPath, 'utf8')
      .trim()
      .split(/\s+/)
      .map(Number);
    const present = statSync(this.path, { throwIfNoEntry: false })?.size ?? 0;
    // Killed right after a rotation: the log begins anew and holds nothing that was noted.
    const noted = size > present ? 0 : size;
    if (present > noted) truncateSync(this.path, noted);
    this.#size = noted;
    for (const [index, offset] of [stdout, stderr].entries()) {
      const raw = this.#raws[index];
      if (raw !== undefined) raw.offset = offset;
    }
  }

  #punch(): void {
    for (const raw of this.#raws) {
      const end = Math.min(raw.offset, ...[...raw.readers].map(({ offset }) => offset));
      if (end - raw.punched < punchBytes) continue;
      punchHole(raw.path, { offset: raw.punched, length: end - raw.punched });
      raw.punched = end;
    }
  }

  #tell(): void {
    for (const listener of this.#listeners) listener();
    for (const listener of this.#growthListeners) listener();
  }
}

function readFrom(path: string, offset: number): { text: string; atEnd: boolean } {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return { text: '', atEnd: true };
    throw error;
  }
  try {
    const left = fstatSync(fd).size - offset;
    if (left <= 0) return { text: '', atEnd: true };
    const buffer = Buffer.allocUnsafe(Math.min(left, chunkBytes));
    const count = readSync(fd, buffer, 0, buffer.length, offset);
    return { text: buffer.toString('latin1', 0, count), atEnd: count === left };
  } finally {
    closeSync(fd);
  }
}
