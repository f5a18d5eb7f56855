/** `kubectl attach`: a client's input and window for a container that runs (K25). */
import { existsSync, statSync, writeFileSync } from 'node:fs';
import { type Attachment } from '../runtime.ts';
import { type ContainerRecord } from './container.ts';
import { openInput, resizeTerminal } from './feed.ts';
import { sendSignal } from './process-table.ts';

/** Attaches one client; the marker file tells later ones, and later agents, that it did. */
export function attachTo(
  record: ContainerRecord,
  marker: string,
  wishes: { readonly stdin: boolean },
): Attachment {
  const { spec, holder, process } = record;
  const isFirst = !existsSync(marker);
  if (isFirst || wishes.stdin) writeFileSync(marker, wishes.stdin ? 'stdin' : '', { mode: 0o600 });
  const stdin = wishes.stdin ? openInput(spec, holder) : undefined;
  if (endsWithClient(record)) stdin?.once('close', () => endInput(record));
  return {
    isFirst,
    stdin,
    resize: (size) => {
      if (spec.tty === true) resizeTerminal(process, size);
    },
    detach: () => stdin?.destroy(),
  };
}

/** The client of an agent that died is gone too: its `stdinOnce` has come to an end. */
export function endOrphanedInput(record: ContainerRecord, marker: string): void {
  const size = statSync(marker, { throwIfNoEntry: false })?.size ?? 0;
  if (endsWithClient(record) && size > 0) endInput(record);
}

/** A terminal waits for the next client, as with containerd: its window may be opened again. */
function endsWithClient({ spec }: ContainerRecord): boolean {
  return spec.stdinOnce === true && spec.tty !== true;
}

/** The holder has the last writing end; what was written before is still read. */
function endInput({ holder }: ContainerRecord): void {
  if (holder !== undefined) sendSignal(holder, 'SIGKILL');
}
