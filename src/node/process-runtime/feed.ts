/**
 * What a container reads and how it talks to a terminal: `stdin`, `stdinOnce`, `tty` (K25).
 *
 * A holder, a small shell outside of the container, keeps the writing end of the container's input
 * open and copies between a pipe, the terminal and the raw log. So neither a client nor the agent
 * that goes away ends the input, hangs up the terminal or stops the output. The next agent finds
 * the holder in the record and opens its descriptors through /proc.
 */
import { spawn } from 'node:child_process';
import { closeSync, constants, fchownSync, openSync } from 'node:fs';
import { Socket } from 'node:net';
import { openPipe } from '../../kernel/ffi/process.ts';
import { openPty, resizePty } from '../../kernel/ffi/pty.ts';
import { type ContainerSpec } from '../runtime.ts';
import { tool } from './command.ts';
import { identify, isAlive, type ProcessId } from './process-table.ts';
import { effectiveUser } from './rights.ts';

/** Waits for the end of the container, which has the other end of 4; 3 is the container's input. */
const HOLD_PIPE = 'read -r _ <&4';

/**
 * 3: the terminal, 4: the raw log, 5 and 6: the pipe that clients write to. The first `cat` would
 * read for ever, the second ends when the last program on the terminal has gone. Both run in the
 * background: for a command in the foreground dash moves its own descriptors away.
 */
const HOLD_TERMINAL = '"$0" <&5 >&3 6>&- & input=$!; "$0" <&3 >&4 6>&- & wait $!; kill "$input"';

/** The descriptor of the holder that takes input. */
const inputOf = { pipe: 3, terminal: 6 } as const;

/** Descriptors for the container's first process. */
export type FeedEnds = {
  readonly stdin: number | 'ignore';
  /** A terminal takes the output as well. */
  readonly terminal: number | undefined;
  /** Tells the holder when the container is over; for the wrapper, not for the command. */
  readonly lifeline: number | 'ignore';
};

/** It reads the end of a file at once, and has no terminal. */
export const noFeed: FeedEnds = { stdin: 'ignore', terminal: undefined, lifeline: 'ignore' };

/** The descriptors on their way to the container and to its holder; closed on disposal. */
export class Feed {
  readonly #spec: ContainerSpec;
  readonly #fds: number[] = [];
  #holder: { script: string; fds: readonly number[] } | undefined;

  constructor(spec: ContainerSpec) {
    this.#spec = spec;
  }

  /** To be called where the container will run: its terminal is one of its own /dev/pts. */
  open(): FeedEnds {
    if (this.#spec.tty === true) return this.#openTerminal();
    if (this.#spec.stdin === true) return this.#openPipe();
    return noFeed;
  }

  /** Starts the holder; to be called outside of the container. */
  hold(log: number): ProcessId | undefined {
    if (this.#holder === undefined) return undefined;
    const { script, fds } = this.#holder;
    const [first = 0, ...more] = fds;
    // The log has its place between the terminal and the pipe.
    const handed = this.#spec.tty === true ? [first, log, ...more] : fds;
    const child = spawn(tool('sh'), ['-c', script, tool('cat')], {
      stdio: ['ignore', 'ignore', 'ignore', ...handed],
      detached: true,
      cwd: '/',
      env: {},
    });
    child.unref();
    return child.pid === undefined ? undefined : identify(child.pid);
  }

  [Symbol.dispose](): void {
    for (const fd of this.#fds) closeSync(fd);
  }

  #openPipe(): FeedEnds {
    const [input, lifeline] = [this.#pipe(), this.#pipe()];
    // The command may open /dev/stdin again, which the owner of the pipe can.
    fchownSync(input.read, effectiveUser(this.#spec), 0);
    this.#holder = { script: HOLD_PIPE, fds: [input.write, lifeline.read] };
    return { stdin: input.read, terminal: undefined, lifeline: lifeline.write };
  }

  #openTerminal(): FeedEnds {
    const { master, slave } = openPty();
    this.#fds.push(master, slave);
    fchownSync(slave, effectiveUser(this.#spec), 0);
    const input = this.#pipe();
    this.#holder = { script: HOLD_TERMINAL, fds: [master, input.read, input.write] };
    return { stdin: slave, terminal: slave, lifeline: 'ignore' };
  }

  #pipe(): { readonly read: number; readonly write: number } {
    const pipe = openPipe();
    this.#fds.push(pipe.read, pipe.write);
    return pipe;
  }
}

/** A new way into the container's input; undefined when there is none any more. */
export function openInput(spec: ContainerSpec, holder: ProcessId | undefined): Socket | undefined {
  if (spec.stdin !== true || holder === undefined || !isAlive(holder)) return undefined;
  const fd = inputOf[spec.tty === true ? 'terminal' : 'pipe'];
  const way = openIfThere(`/proc/${holder.pid}/fd/${fd}`, constants.O_WRONLY);
  return way === undefined ? undefined : pipeEnd(way, 'writable');
}

/** Resizes the terminal that the container's first process has. */
export function resizeTerminal(first: ProcessId, size: { columns: number; rows: number }): void {
  if (!isAlive(first)) return;
  const terminal = openIfThere(`/proc/${first.pid}/fd/0`, constants.O_RDWR | constants.O_NOCTTY);
  if (terminal === undefined) return;
  try {
    resizePty(terminal, size);
  } finally {
    closeSync(terminal);
  }
}

/** Undefined when the process has ended meanwhile, or nobody reads from the pipe (ENXIO). */
function openIfThere(path: string, flags: number): number | undefined {
  try {
    return openSync(path, flags | constants.O_NONBLOCK);
  } catch {
    return undefined;
  }
}

/** One end of a pipe as a stream. */
export function pipeEnd(fd: number, way: 'readable' | 'writable'): Socket {
  const socket = new Socket({ fd, readable: way === 'readable', writable: way === 'writable' });
  // A command that ends without reading its input is no error of ours.
  socket.on('error', () => socket.destroy());
  return socket;
}
