/** Runs a command inside a container: `kubectl exec`. */
import { spawn, type ChildProcess } from 'node:child_process';
import { closeSync, fchownSync, openSync } from 'node:fs';
import { join } from 'node:path';
import { ReadStream } from 'node:tty';
import { constants } from 'node:os';
import { openPipe } from '../../kernel/ffi/process.ts';
import { openPty, resizePty } from '../../kernel/ffi/pty.ts';
import { within, type Namespaces } from '../../kernel/namespace/within.ts';
import { type ExecSession, type ExecSpec } from '../runtime.ts';
import { checkCommand, launch, tool } from './command.ts';
import { type ContainerRecord } from './container.ts';
import { pipeEnd } from './feed.ts';
import { mountProc } from './first-process.ts';
import { effectiveUser } from './rights.ts';

export type ExecTarget = {
  readonly record: ContainerRecord;
  /** A placeholder has no /proc of its own until somebody looks inside. */
  readonly procMounted: boolean;
};

/** Starts the command with the container's namespaces, user, environment and directory. */
export function execInside(target: ExecTarget, spec: ExecSpec): ExecSession {
  return spec.tty ? execWithTerminal(target, spec) : execWithPipes(target, spec);
}

/** Real pipes, not the socket pairs of `spawn`: a program may open /dev/stdout again. */
function execWithPipes(target: ExecTarget, spec: ExecSpec): ExecSession {
  const input = spec.stdin ? openPipe() : undefined;
  // The node's: in the container's /dev a volume may have put something that waits for a reader.
  const nothing = openSync('/dev/null', 'r');
  const output = openPipe();
  const errors = openPipe();
  // A command may open /dev/stdin or /dev/stdout again, which the owner of the pipe can.
  const user = effectiveUser(target.record.spec);
  for (const end of [input?.read, output.write, errors.write]) {
    if (end !== undefined) fchownSync(end, user, 0);
  }
  const ours = [input?.write, output.read, errors.read];
  const theirs = [input?.read, nothing, output.write, errors.write];
  let child: ChildProcess;
  try {
    child = enter(target, () => {
      const { file, args, options } = commandLine(target, spec);
      const stdio = [input?.read ?? nothing, output.write, errors.write];
      return spawn(file, args, { ...options, stdio, detached: true });
    });
  } catch (error) {
    closeAll(ours);
    throw error;
  } finally {
    closeAll(theirs);
  }
  return {
    stdin: input && pipeEnd(input.write, 'writable'),
    stdout: pipeEnd(output.read, 'readable'),
    stderr: pipeEnd(errors.read, 'readable'),
    resize: () => undefined,
    exit: exitOf(child),
    kill: () => killGroup(child),
  };
}

function closeAll(fds: readonly (number | undefined)[]): void {
  for (const fd of fds) if (fd !== undefined) closeSync(fd);
}

function execWithTerminal(target: ExecTarget, spec: ExecSpec): ExecSession {
  const { child, master } = enter(target, () => {
    const pty = openPty();
    try {
      fchownSync(pty.slave, effectiveUser(target.record.spec), 0);
      const { file, args, options } = commandLine(target, spec, { TERM: 'xterm' });
      const stdio = [pty.slave, pty.slave, pty.slave];
      const line = ['--ctty', file, ...args];
      return { child: spawn(tool('setsid'), line, { ...options, stdio }), master: pty.master };
    } catch (error) {
      closeSync(pty.master);
      throw error;
    } finally {
      closeSync(pty.slave);
    }
  });
  const terminal = new ReadStream(master);
  // The kernel says EIO to a reader when the last program on the terminal has closed it.
  terminal.on('error', () => terminal.destroy());
  return {
    stdin: spec.stdin ? terminal : undefined,
    stdout: terminal,
    stderr: undefined,
    resize: (size) => {
      if (!terminal.destroyed) resizePty(master, size);
    },
    exit: exitOf(child),
    kill: () => killGroup(child),
  };
}

/** Runs `work` where the container's first process is. */
function enter<T>(target: ExecTarget, work: () => T): T {
  const base = `/proc/${target.record.process.pid}/ns`;
  const kinds = ['net', 'uts', 'ipc', 'pid', 'mnt'] as const;
  const paths: Namespaces = Object.fromEntries(kinds.map((kind) => [kind, join(base, kind)]));
  return within(paths, work);
}

function commandLine(
  target: ExecTarget,
  spec: ExecSpec,
  extra: Readonly<Record<string, string>> = {},
) {
  const container = target.record.spec;
  checkCommand(container, spec.command);
  const { rights, command, env } = launch(container, spec.command, extra);
  const args = [...rights, ...command];
  const options = {
    env: { ...env },
    cwd: container.workingDir === '' ? '/' : container.workingDir,
  };
  const [file = '', ...rest] = args;
  if (target.procMounted) return { file, args: rest, options };
  const script = `${mountProc(container)}; exec "$@"`;
  return { file: tool('sh'), args: ['-c', script, 'sh', ...args], options };
}

function exitOf(child: ChildProcess): Promise<number> {
  return new Promise((resolve, reject) => {
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      resolve(code ?? 128 + constants.signals[signal ?? 'SIGKILL']);
    });
  });
}

/** The command leads a process group, or on a terminal a session, of its own. */
function killGroup(child: ChildProcess): void {
  if (child.pid === undefined || child.exitCode !== null || child.signalCode !== null) return;
  try {
    process.kill(-child.pid, 'SIGKILL');
  } catch {
    child.kill('SIGKILL');
  }
}
