/** Tells people what happened to an object: the Events of `kubectl describe` (K40). */
import { randomUUID } from 'node:crypto';
import { apiVersionOf, resources, type Resource } from '../api/resources.ts';
import { keyText, parseKeyText, type KubeObject } from '../api/meta.ts';
import { ApiError, isReason } from '../api/status.ts';
import type { Event, ObjectReference } from '../api/types.ts';
import { formatTime, systemClock, type Clock } from '../lib/clock.ts';
import { limits } from '../lib/limits.ts';
import type { Logger } from '../lib/log.ts';
import type { Client } from './client.ts';
import { Reconciler } from './reconciler.ts';

/** The longest name of an object: a DNS subdomain (RFC 1123). */
const nameBytesMax = 253;

export type EventText = {
  readonly type: 'Normal' | 'Warning';
  /** One word in UpperCamelCase, such as `FailedScheduling`. */
  readonly reason: string;
  readonly message: string;
  /** `spec.containers{web}` when only one container is meant. */
  readonly fieldPath?: string;
};

export type EventRecorder = {
  /** Notes the event; it is written soon after. The same text again raises the count. */
  record(resource: Resource, object: KubeObject, event: EventText): void;
  /** Settles when everything noted has been written. */
  idle(): Promise<void>;
  stop(): void;
};

type Series = {
  readonly event: Event;
  count: number;
  lastMs: number;
  written: number;
};

/** Events written as `component`, such as `default-scheduler`, seen from `host`. */
export function createEventRecorder(options: {
  client: Client;
  component: string;
  host?: string;
  clock?: Clock;
  log?: Logger;
}): EventRecorder {
  const { client, component, host, log } = options;
  const clock = options.clock ?? systemClock;
  /** In order of last use; the oldest is forgotten first. */
  const known = new Map<string, Series>();
  const waiting = new Map<string, Series>();
  let made = 0;

  const writer = new Reconciler({
    name: 'events',
    clock,
    ...(log === undefined ? {} : { log }),
    concurrency: 2,
    async reconcile(key) {
      const series = waiting.get(key);
      if (series === undefined || series.written === series.count) return;
      const { count } = series;
      await write(client, series, { key, count });
      series.written = count;
      if (series.count === count) waiting.delete(key);
    },
  });

  return {
    record(resource, object, text) {
      const now = clock.now();
      const reference = referenceOf(resource, object, text.fieldPath);
      const same = JSON.stringify([reference.uid, reference.name, text]);
      let series = known.get(same);
      if (series === undefined) {
        made += 1;
        const event = eventOf({ reference, text, component, now, serial: made });
        if (host !== undefined) event.source = { component, host };
        series = { event, count: 0, lastMs: now, written: 0 };
      }
      series.count += 1;
      series.lastMs = now;
      known.delete(same);
      known.set(same, series);
      forgetOldest(known);
      const key = keyText(series.event.metadata);
      if (!waiting.has(key) && waiting.size >= limits.eventsWaitingMax) return;
      waiting.set(key, series);
      writer.add(key);
    },
    idle: () => writer.idle(),
    stop: () => writer.stop(),
  };
}

function forgetOldest(known: Map<string, Series>): void {
  for (const key of known.keys()) {
    if (known.size <= limits.eventsKnownMax) return;
    known.delete(key);
  }
}

async function write(
  client: Client,
  series: Series,
  { key, count }: { key: string; count: number },
): Promise<void> {
  const lastTimestamp = formatTime(series.lastMs);
  const whole: Event = { ...series.event, count, lastTimestamp };
  try {
    if (series.written === 0) {
      await client.create(resources.events, whole);
      return;
    }
    const change = { count, lastTimestamp };
    await client.patch(resources.events, parseKeyText(key), change, { type: 'merge' });
  } catch (error) {
    if (isReason(error, 'NotFound') && series.written > 0) {
      // Gone with its age: it begins anew.
      series.written = 0;
      throw error;
    }
    // Refused for good: its namespace is being removed, it is there already, or it is not valid.
    // Nobody is helped by sending it again.
    if (isRefused(error)) return;
    throw error;
  }
}

/** Whether the server would answer the same the next time. */
function isRefused(error: unknown): boolean {
  if (!(error instanceof ApiError) || error.reason === 'Conflict') return false;
  return error.code >= 400 && error.code < 500 && ![401, 408, 429].includes(error.code);
}

/** How other objects point at this one. */
export function referenceOf(
  resource: Resource,
  object: KubeObject,
  fieldPath?: string,
): ObjectReference {
  const { name, namespace, uid, resourceVersion } = object.metadata;
  return {
    kind: resource.kind,
    apiVersion: apiVersionOf(resource),
    name,
    ...(namespace === undefined ? {} : { namespace }),
    ...(uid === undefined ? {} : { uid }),
    ...(resourceVersion === undefined ? {} : { resourceVersion }),
    ...(fieldPath === undefined ? {} : { fieldPath }),
  };
}

function eventOf(parts: {
  reference: ObjectReference;
  text: EventText;
  component: string;
  now: number;
  serial: number;
}): Event {
  const { reference, text, component, now, serial } = parts;
  // As client-go: the name of the object and the time in hexadecimal nanoseconds, or a random name
  // where that is too long.
  const stamp = (BigInt(Math.round(now)) * 1_000_000n + BigInt(serial % 1_000_000)).toString(16);
  const name = `${reference.name}.${stamp}`;
  return {
    apiVersion: 'v1',
    kind: 'Event',
    metadata: {
      name: name.length > nameBytesMax ? randomUUID() : name,
      // Events of things without a namespace live in `default`.
      namespace: reference.namespace ?? 'default',
    },
    involvedObject: reference,
    type: text.type,
    reason: text.reason,
    message: text.message.slice(0, limits.eventMessageMax),
    source: { component },
    firstTimestamp: formatTime(now),
    reportingComponent: component,
    reportingInstance: '',
  };
}
