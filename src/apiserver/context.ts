/** What every operation of the API server works with. */
import type { Key, KubeObject } from '../api/meta.ts';
import type { TokenRequest } from '../api/types.ts';
import type { Store } from '../store/store.ts';
import type { Clock } from '../lib/clock.ts';
import type { ServiceAllocator } from './allocation/service-allocator.ts';

/** Who asks, as authentication found out. */
export type Caller = {
  readonly user: string;
  readonly uid?: string;
  readonly groups: readonly string[];
  /** Of a service-account token: the pod it is bound to and such. */
  readonly extra?: Readonly<Record<string, readonly string[]>>;
};

/** Asks on behalf of the server itself and the controllers in its process. */
export const systemCaller: Caller = {
  user: 'system:apiserver',
  groups: ['system:masters', 'system:authenticated'],
};

export type ApiContext = {
  readonly store: Store;
  readonly clock: Clock;
  readonly allocator: ServiceAllocator;
  /** How long new pods tolerate a lost node unless they say otherwise. */
  readonly defaultTolerationSeconds: number;
  /** Makes a token for the service account (A100). */
  issueToken(account: Key, request: TokenRequest): Promise<TokenRequest>;
};

export type WriteOptions = { readonly dryRun?: boolean };

/** Any stored object, where the code does not know its kind. */
export type AnyObject = KubeObject & {
  spec?: Record<string, unknown>;
  status?: Record<string, unknown>;
};

/** A private, mutable copy without `undefined`, as it would look after a trip over the wire. */
export function copyOf<T>(value: T): T {
  return JSON.parse(JSON.stringify(value)) as T;
}
