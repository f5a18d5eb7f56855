/** What state a container is in, from its record and the file its wrapper left. */
import { readFileSync, statSync, writeFileSync } from 'node:fs';
import { type ContainerState } from '../runtime.ts';
import { type ContainerRecord } from './container.ts';
import { isAlive, type ProcessId } from './process-table.ts';

/** The code of a container whose first process was killed: 128 + SIGKILL, as everywhere. */
const KILLED = 137;

/**
 * The processes of which none may run any more before a container is over. The holder of a terminal
 * ends when it has copied the last of the output.
 */
export function lastProcesses({ spec, process, holder }: ContainerRecord): readonly ProcessId[] {
  return spec.tty === true && holder !== undefined ? [process, holder] : [process];
}

/** The state as the world shows it now; settles the exit code of a container that was killed. */
export function observe(record: ContainerRecord, exitFile: string): ContainerState {
  const { startedAt } = record;
  if (lastProcesses(record).some(isAlive)) return { kind: 'running', startedAt };
  const text = readText(exitFile);
  const exitCode = /^\d+$/.test(text) ? Number(text) : KILLED;
  if (text === '') writeText(exitFile, String(KILLED));
  const finishedAt = statSync(exitFile, { throwIfNoEntry: false })?.mtimeMs ?? Date.now();
  return { kind: 'exited', startedAt, finishedAt: Math.round(finishedAt), exitCode, signal: 0 };
}

function readText(path: string): string {
  try {
    return readFileSync(path, 'utf8').trim();
  } catch {
    return '';
  }
}

function writeText(path: string, text: string): void {
  try {
    writeFileSync(path, text);
  } catch {
    // The container's directory may be gone with its pod; then nobody asks for the code.
  }
}
