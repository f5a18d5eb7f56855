/** Events are kept for an hour (A140): without that they would be the one kind that only grows. */
import { resources } from '../api/resources.ts';
import { isReason } from '../api/status.ts';
import type { Event } from '../api/types.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import type { ApiContext } from './context.ts';
import { deleteObject } from './deletion.ts';

const KEEP_MS = 3600 * 1000;
const LOOK_EVERY_MS = 5 * 60 * 1000;

/** Deletes old events now and then; the returned function stops it. */
export function startEventExpiry(context: ApiContext, log: Logger | undefined): () => void {
  const look = () => {
    expireEvents(context).catch((error: unknown) => {
      log?.warn({ error: messageOf(error) }, 'cannot delete old events');
    });
  };
  const timer = setInterval(look, LOOK_EVERY_MS);
  timer.unref();
  return () => clearInterval(timer);
}

/** Deletes the events that nobody has added to for an hour. */
export async function expireEvents(context: ApiContext): Promise<void> {
  const oldest = context.clock.now() - KEEP_MS;
  const old = context.store
    .list(resources.events)
    .filter(({ object }) => lastSeen(object) < oldest);
  await Promise.all(
    old.map(async ({ namespace, name, object }) => {
      const { resourceVersion = '' } = object.metadata;
      try {
        const options = { preconditions: { resourceVersion } };
        await deleteObject(context, resources.events, { namespace, name }, options);
      } catch (error) {
        // Deleted, or seen again meanwhile.
        if (!isReason(error, 'NotFound') && !isReason(error, 'Conflict')) throw error;
      }
    }),
  );
}

function lastSeen(event: Pick<Event, 'metadata'> & Partial<Event>): number {
  const { series, lastTimestamp, eventTime, metadata } = event;
  const times = [series?.lastObservedTime, lastTimestamp, eventTime, metadata.creationTimestamp];
  return Math.max(...times.map((text) => (text ? Date.parse(text) : 0)));
}
