/** Watch streams (A80-A93). */
import { type Resource, apiVersionOf } from '../../api/resources.ts';
import { invalid } from '../../api/validation/index.ts';
import { messageOf } from '../../lib/errors.ts';
import { limits } from '../../lib/limits.ts';
import type { Logger } from '../../lib/log.ts';
import type { Change, Stored } from '../../store/store.ts';
import type { ApiContext } from '../context.ts';
import { type SelectedChange, type Selection, select, translate } from '../selection.ts';
import { type Exchange, commonHeaders } from './exchange.ts';
import { selectionOf } from './listing.ts';
import { type Form, notAcceptable } from './negotiate.ts';
import { includeObjectOf, metadataOnly, tableOf } from './objects.ts';
import { isGone, writeHead } from './respond.ts';
import type { Target } from './target.ts';
import { requireRevision } from './versions.ts';

const BOOKMARK_EVERY_MS = 60_000;
/** Without a wish of the client a watch lasts half an hour to an hour (A89). */
const TIMEOUT_MIN_SECONDS = 1800;

/** Open watches, so that a closing server can end them. */
export type Watches = Set<() => void>;

type WatchContext = ApiContext & {
  readonly watches: Watches;
  readonly log: Logger | undefined;
};

/** GET of a collection with `watch=true`. */
export async function handleWatch(
  context: WatchContext,
  exchange: Exchange,
  target: Target,
  form: Form,
): Promise<void> {
  const { query } = exchange;
  const selection = selectionOf(exchange, target);
  if (form.encoding === 'yaml') throw notAcceptable('application/json');
  const start = await startOf(context, target.resource, query);
  const encode = encoderFor(context, exchange, target.resource, form);
  const stream = openStream(context, exchange);
  const onChanges = (changes: readonly Change[]) => {
    try {
      stream.write(linesOf(changes, selection, encode));
    } catch (error) {
      // The store calls: what cannot be encoded for one watcher must not reach the others.
      context.log?.warn({ path: exchange.path, error: messageOf(error) }, 'cannot encode an event');
      stream.cut();
    }
  };
  const { name } = selection;
  const subscription = context.store.watch(
    target.resource,
    {
      ...(selection.namespace === undefined ? {} : { namespace: selection.namespace }),
      ...(name === undefined ? {} : { name }),
      ...(start.since === undefined ? {} : { since: start.since }),
    },
    onChanges,
  );
  stream.onEnd(() => subscription.close());
  stream.begin();
  if (start.existing) {
    const existing = select(context.store.list(target.resource, selection.namespace), selection);
    stream.writeState(
      existing.map((stored) => encode({ type: 'ADDED', stored, version: stored.revision })),
    );
  }
  onChanges(subscription.backlog);
  const bookmarks = isTrue(query.get('allowWatchBookmarks'));
  const bookmark = (annotations?: Record<string, string>) =>
    stream.write([bookmarkLine(context, target.resource, form, annotations)]);
  if (bookmarks && start.announce) bookmark({ 'k8s.io/initial-events-end': 'true' });
  if (bookmarks) stream.onEnd(every(BOOKMARK_EVERY_MS, () => bookmark()));
  stream.onEnd(
    context.clock.after(timeoutMsOf(query), () => {
      if (bookmarks) bookmark();
      stream.end();
    }),
  );
}

type Start = {
  /** Changes after this version; undefined: only from now. */
  readonly since: number | undefined;
  /** Every existing object first. */
  readonly existing: boolean;
  /** Say when the existing ones are through (A87). */
  readonly announce: boolean;
};

async function startOf(
  context: ApiContext,
  resource: Resource,
  query: URLSearchParams,
): Promise<Start> {
  const version = query.get('resourceVersion') ?? '';
  const match = query.get('resourceVersionMatch') ?? '';
  const initial = query.get('sendInitialEvents');
  const refuse = (field: string, detail: string) =>
    invalid({ ...resource, kind: 'ListOptions', group: 'meta.k8s.io' }, '', [
      { type: 'Forbidden', field, detail },
    ]);
  if (initial === null) {
    if (match !== '') {
      throw refuse(
        'resourceVersionMatch',
        'resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided',
      );
    }
    if (version === '' || version === '0')
      return { since: undefined, existing: true, announce: false };
    return { since: await requireRevision(context, version), existing: false, announce: false };
  }
  if (match !== 'NotOlderThan') {
    throw refuse(
      'resourceVersionMatch',
      'sendInitialEvents requires setting resourceVersionMatch to NotOlderThan',
    );
  }
  if (version !== '' && version !== '0') await requireRevision(context, version);
  if (isTrue(initial)) return { since: undefined, existing: true, announce: true };
  const since = version === '' || version === '0' ? undefined : Number(version);
  return { since, existing: false, announce: false };
}

/** A boolean of a query, as Go's ParseBool and empty mean it. */
export function isTrue(value: string | null): boolean {
  return value !== null && ['', '1', 't', 'T', 'true', 'TRUE', 'True'].includes(value);
}

function timeoutMsOf(query: URLSearchParams): number {
  const asked = Number(query.get('timeoutSeconds') ?? 0);
  if (Number.isFinite(asked) && asked > 0) return Math.min(asked * 1000, 2 ** 31 - 1);
  return (TIMEOUT_MIN_SECONDS + Math.random() * TIMEOUT_MIN_SECONDS) * 1000;
}

function every(ms: number, callback: () => void): () => void {
  const timer = setInterval(callback, ms);
  timer.unref();
  return () => clearInterval(timer);
}

type Encode = (change: SelectedChange) => Uint8Array;

function linesOf(changes: readonly Change[], selection: Selection, encode: Encode): Uint8Array[] {
  const lines: Uint8Array[] = [];
  for (const change of changes) {
    const selected = translate(change, selection);
    if (selected !== undefined) lines.push(encode(selected));
  }
  return lines;
}

function encoderFor(
  context: ApiContext,
  exchange: Exchange,
  resource: Resource,
  form: Form,
): Encode {
  if (form.as === 'object') return (change) => sharedLine(change);
  const line = (type: string, object: object) =>
    Buffer.from(`${JSON.stringify({ type, object })}\n`);
  if (form.as !== 'Table') {
    return (change) => line(change.type, metadataOnly(objectOf(change), form.version));
  }
  const include = includeObjectOf(exchange.query);
  let first = true;
  return (change) => {
    const object = objectOf(change);
    const metadata = { resourceVersion: object.metadata.resourceVersion ?? '' };
    const now = context.clock.now();
    const table = tableOf(resource, [object], { version: form.version, metadata, include, now });
    // Clients keep the columns of the first event (A27).
    const shown = first ? table : { ...table, columnDefinitions: null };
    first = false;
    return line(change.type, shown);
  };
}

function objectOf({ stored, version }: SelectedChange): Stored['object'] {
  const { object, revision } = stored;
  if (version === revision) return object;
  return { ...object, metadata: { ...object.metadata, resourceVersion: String(version) } };
}

/** Lines of the events now being sent, made once for all watchers of the same form. */
let lines = new Map<Stored, Map<string, Uint8Array>>();

function sharedLine(change: SelectedChange): Uint8Array {
  const { type, stored, version } = change;
  if (version !== stored.revision) {
    return Buffer.from(`${JSON.stringify({ type, object: objectOf(change) })}\n`);
  }
  let ofStored = lines.get(stored);
  if (ofStored === undefined) {
    if (lines.size === 0) setImmediate(() => (lines = new Map()));
    ofStored = new Map();
    lines.set(stored, ofStored);
  }
  let line = ofStored.get(type);
  if (line === undefined) {
    line = Buffer.concat([Buffer.from(`{"type":"${type}","object":`), stored.bytes, LINE_END]);
    ofStored.set(type, line);
  }
  return line;
}

const LINE_END = Buffer.from('}\n');

function bookmarkLine(
  context: ApiContext,
  resource: Resource,
  form: Form,
  annotations: Record<string, string> | undefined,
): Uint8Array {
  const resourceVersion = String(context.store.revision);
  const metadata = {
    resourceVersion,
    creationTimestamp: null,
    ...(annotations === undefined ? {} : { annotations }),
  };
  let object: object = { kind: resource.kind, apiVersion: apiVersionOf(resource), metadata };
  const apiVersion = `meta.k8s.io/${form.version}`;
  if (form.as === 'Table') {
    const row = { cells: [], object: { kind: 'PartialObjectMetadata', apiVersion, metadata } };
    object = {
      kind: 'Table',
      apiVersion,
      metadata: { resourceVersion },
      columnDefinitions: null,
      rows: [row],
    };
  } else if (form.as !== 'object') {
    object = { kind: 'PartialObjectMetadata', apiVersion, metadata };
  }
  return Buffer.from(`${JSON.stringify({ type: 'BOOKMARK', object })}\n`);
}

/** The response as a bounded stream of lines: one write per commit, cut when the client lags (A90). */
function openStream(context: { readonly watches: Watches }, exchange: Exchange) {
  const { response } = exchange;
  const cleanups: (() => void)[] = [];
  let open = true;
  const close = () => {
    if (!open) return;
    open = false;
    context.watches.delete(end);
    for (const cleanup of cleanups) cleanup();
  };
  const end = () => {
    close();
    if (!response.writableEnded) response.end();
  };
  const sink = response as NodeJS.WritableStream & { readonly writableLength: number };
  let bytesMax: number = limits.watchBufferBytesMax;
  const write = (parts: readonly Uint8Array[]) => {
    if (!open || parts.length === 0) return;
    sink.write(parts.length === 1 ? parts[0]! : Buffer.concat(parts));
    if (sink.writableLength > bytesMax) cut();
  };
  context.watches.add(end);
  response.on('close', close);
  const cut = () => {
    close();
    response.destroy();
  };
  return {
    end,
    cut,
    onEnd(cleanup: () => void) {
      if (open) cleanups.push(cleanup);
      else cleanup();
    },
    begin() {
      if (isGone(exchange)) return close();
      writeHead(exchange, 200, {
        ...commonHeaders(exchange),
        'content-type': 'application/json',
      });
      // The client waits for the head, and the first event may be far off (A80).
      if ('flushHeaders' in response) response.flushHeaders();
    },
    write,
    /** Writes what there is at the start, which may be more than a client may ever lag. */
    writeState(parts: readonly Uint8Array[]) {
      bytesMax += parts.reduce((sum, { length }) => sum + length, 0);
      write(parts);
      sink.once('drain', () => (bytesMax = limits.watchBufferBytesMax));
    },
  };
}
