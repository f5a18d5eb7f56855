/** What a service proxy is started with, and what it tells of itself. */
import type { Client } from '../client/client.ts';
import type { Informers } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';

export type ProxyOptions = {
  readonly client: Client;
  readonly nodeName: string;
  /** The node's primary addresses, one per family: they answer on node ports (P30). */
  readonly nodeIPs: readonly string[];
  /** Where pods have their addresses; sources elsewhere are masqueraded (P66). */
  readonly clusterCidrs: readonly string[];
  /** New connections to unallocated addresses in here are dropped (P92). */
  readonly serviceCidrs?: readonly string[];
  readonly masqueradeAll?: boolean;
  /** Shared with the rest of the process; otherwise the proxy has its own. */
  readonly informers?: Informers;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Whole numbers below 2^32. */
  readonly random?: () => number;
  /** Called after each commit, for measurements. */
  readonly onSync?: (sync: Sync) => void;
};

/** One change of the kernel. Times are milliseconds, `at` since the epoch. */
export type Sync = {
  readonly at: number;
  /** From the first news that it answers to the commit. */
  readonly latencyMs: number;
  /** Planning and committing alone. */
  readonly durationMs: number;
  /** Services planned. */
  readonly services: number;
  /** Elements written or deleted, and chains. */
  readonly writes: number;
  /** The newest resourceVersion that the kernel now reflects. */
  readonly resourceVersion: number;
};

/** A running proxy. Stopping it leaves every rule in place (P132). */
export type Proxy = {
  /** Settles when the kernel holds the rules of all Services known at the start. */
  readonly ready: Promise<void>;
  /** The newest resourceVersion of a Service or slice that the kernel reflects. */
  readonly resourceVersion: number;
  /** The last sync that wrote something. */
  readonly lastSync: Sync | undefined;
  readonly stop: () => Promise<void>;
};
