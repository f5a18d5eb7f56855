/** Versions that clients name (A77). */
import { failure } from '../../api/status.ts';
import { invalid } from '../../api/validation/index.ts';
import { resources } from '../../api/resources.ts';
import type { ApiContext } from '../context.ts';

/** How long a request may wait for a version from the future. */
const WAIT_MS = 3000;
const LOOK_EVERY_MS = 50;

/** The number of a version; waits a while when it has not come yet, then 504. */
export async function requireRevision(context: ApiContext, text: string): Promise<number> {
  const revision = parseRevision(text);
  const until = context.clock.monotonicMs() + WAIT_MS;
  while (revision > context.store.revision) {
    if (context.clock.monotonicMs() >= until) throw tooLarge(revision, context.store.revision);
    await new Promise<void>((resolve) => context.clock.after(LOOK_EVERY_MS, resolve));
  }
  return revision;
}

function parseRevision(text: string): number {
  const revision = Number(text);
  if (/^\d+$/.test(text) && Number.isSafeInteger(revision)) return revision;
  throw invalid({ ...resources.pods, kind: 'ListOptions', group: 'meta.k8s.io' }, '', [
    {
      type: 'Invalid',
      field: 'resourceVersion',
      value: text,
      detail: `strconv.ParseUint: parsing "${text}": invalid syntax`,
    },
  ]);
}

function tooLarge(asked: number, current: number): Error {
  const message = `Timeout: Too large resource version: ${asked}, current: ${current}`;
  return failure(504, 'Timeout', message, {
    causes: [{ reason: 'ResourceVersionTooLarge', message: 'Too large resource version' }],
    retryAfterSeconds: 1,
  });
}
