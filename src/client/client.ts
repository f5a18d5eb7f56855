/**
 * What controllers, agents, DNS and the CLI ask of an API server. Two things realise it: HTTPS
 * (`http-client.ts`) and the API server itself, called in process (`apiserver/local-client.ts`).
 * Every method throws `ApiError` when the server refuses. Objects returned are shared and must not be changed.
 */
import type { Key, KubeObject } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';

export type ListOptions = {
  namespace?: string;
  labelSelector?: string;
  fieldSelector?: string;
};

export type List<T> = { readonly items: readonly T[]; readonly resourceVersion: string };

export type WatchOptions = ListOptions & {
  /** Only changes after this version; absent: every existing object as ADDED first. */
  resourceVersion?: string;
  signal: AbortSignal;
};

/** `BOOKMARK` carries only metadata.resourceVersion. `ERROR` never reaches the caller: it is thrown. */
export type WatchEvent<T> = {
  readonly type: 'ADDED' | 'MODIFIED' | 'DELETED' | 'BOOKMARK';
  readonly object: T;
};

export type PatchType = 'json' | 'merge' | 'strategic';

export type DeleteOptions = {
  gracePeriodSeconds?: number;
  propagationPolicy?: 'Background' | 'Foreground' | 'Orphan';
  preconditions?: { uid?: string; resourceVersion?: string };
};

export interface Client {
  get<T extends KubeObject>(resource: Resource, key: Key): Promise<T>;
  /** `trim` is given each object as it arrives, so that the whole list is never held untrimmed. */
  list<T extends KubeObject>(
    resource: Resource,
    options?: ListOptions & { trim?: (object: T) => T },
  ): Promise<List<T>>;
  /** Ends without an error when the server closes the stream; throws `ApiError` Expired when the version is too old. */
  watch<T extends KubeObject>(
    resource: Resource,
    options: WatchOptions,
  ): AsyncIterable<WatchEvent<T>>;
  create<T extends KubeObject>(resource: Resource, object: T): Promise<T>;
  /** Replaces the object, or only its `subresource`; a stale resourceVersion is a Conflict. */
  update<T extends KubeObject>(
    resource: Resource,
    object: T,
    options?: { subresource?: string },
  ): Promise<T>;
  patch<T extends KubeObject>(
    resource: Resource,
    key: Key,
    patch: unknown,
    options: { type: PatchType; subresource?: string },
  ): Promise<T>;
  delete(resource: Resource, key: Key, options?: DeleteOptions): Promise<void>;
  /** POST to a subresource such as `token`, `binding` or `eviction`. */
  post<T>(resource: Resource, key: Key, subresource: string, body: unknown): Promise<T>;
}
