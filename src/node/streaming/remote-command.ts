/** Joins a command in a container to the streams of whoever asked for it (K25, A103-A106). */
import type { Readable, Writable } from 'node:stream';
import type { Status } from '../../api/status.ts';
import type { ExecSession } from '../runtime.ts';

/** The client's end, whatever the protocol; a stream not asked for is absent. */
export type RemoteStreams = {
  readonly stdin?: Readable;
  readonly stdout?: Writable;
  readonly stderr?: Writable;
  /** Calls back with each new size of the client's terminal. */
  readonly onResize: (resized: (size: { columns: number; rows: number }) => void) => void;
  /** Tells how it ended and closes the connection in order. */
  readonly finish: (status: ExitStatus) => Promise<void>;
  /** Settles when the client is gone. */
  readonly closed: Promise<void>;
};

/** The part of a Status that travels at the end of a session (A105). */
export type ExitStatus = Pick<Status, 'status' | 'reason' | 'message' | 'details'> & {
  readonly metadata: Record<string, never>;
};

/** What the client wants to be connected to. */
export type StreamWishes = {
  readonly stdin: boolean;
  readonly stdout: boolean;
  readonly stderr: boolean;
  readonly tty: boolean;
};

/** Runs until the command ends and all its output is on its way. */
export async function joinSession(streams: RemoteStreams, session: ExecSession): Promise<void> {
  const { stdin, stdout, stderr } = streams;
  streams.onResize((size) => session.resize(size));
  if (session.stdin !== undefined && stdin !== undefined) {
    const { stdin: input } = session;
    input.on('error', () => stdin.resume());
    stdin.pipe(input);
  } else {
    stdin?.resume();
  }
  const copies = [copyOut(session.stdout, stdout), copyOut(session.stderr, stderr)];
  const gone = streams.closed.then(() => 'gone' as const);
  const code = await Promise.race([session.exit, gone]);
  if (code === 'gone') {
    // Nobody listens any more: a terminal hangs up, as when its window is closed.
    session.kill();
    return;
  }
  await Promise.race([Promise.all(copies), gone]);
  await streams.finish(exitStatus(code));
}

/** Settles when the source has ended and everything is handed over. */
async function copyOut(
  from: NodeJS.ReadableStream | undefined,
  to: Writable | undefined,
): Promise<void> {
  if (from === undefined) return;
  const { promise, resolve } = Promise.withResolvers<void>();
  from.once('end', resolve);
  from.once('close', resolve);
  from.once('error', () => resolve());
  if (to === undefined) {
    from.resume();
    return promise;
  }
  to.once('close', resolve);
  // The end of the source is not the end of the stream: the exit status closes both.
  from.pipe(to, { end: false });
  return promise;
}

/** `NonZeroExitCode` is what kubectl turns into its own exit code. */
export function exitStatus(code: number): ExitStatus {
  if (code === 0) return { metadata: {}, status: 'Success' };
  return {
    metadata: {},
    status: 'Failure',
    message: `command terminated with non-zero exit code: exit status ${code}`,
    reason: 'NonZeroExitCode',
    details: { causes: [{ reason: 'ExitCode', message: String(code) }] },
  };
}

/** Something went wrong before or beside the command. */
export function failureStatus(message: string): ExitStatus {
  return { metadata: {}, status: 'Failure', message, reason: 'InternalError' };
}

/** The JSON lines of a resize stream: `{"Width":80,"Height":24}`. */
export function readResizes(
  stream: Readable,
  resized: (size: { columns: number; rows: number }) => void,
): void {
  let pending = '';
  stream.setEncoding('utf8');
  stream.on('data', (text: string) => {
    pending += text;
    // Objects without a nested one: each ends at the first closing brace.
    for (let end = pending.indexOf('}'); end >= 0; end = pending.indexOf('}')) {
      const size = parseResize(pending.slice(0, end + 1));
      pending = pending.slice(end + 1);
      if (size !== undefined) resized(size);
    }
    if (pending.length > resizeCharactersMax) pending = '';
  });
}

/** One size is some thirty characters; more without an end is no size. */
const resizeCharactersMax = 1024;

/** Undefined for anything that is no size of a terminal. */
export function parseResize(text: string): { columns: number; rows: number } | undefined {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    return undefined;
  }
  const { Width: columns, Height: rows } = (value ?? {}) as { Width?: unknown; Height?: unknown };
  const fits = (n: unknown): n is number =>
    Number.isInteger(n) && Number(n) > 0 && Number(n) < 65_536;
  return fits(columns) && fits(rows) ? { columns, rows } : undefined;
}
