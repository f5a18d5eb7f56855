/** What a service proxy is started with, and what it tells of itself. */
import type { Client } from '../client/client.ts';
import type { EndpointSlice, Node } from '../api/types.ts';
import type { Informer, Informers } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import type { Traffic } from '../kernel/nftables/index.ts';
import type { IpFamily } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { Balancing, Clash, ServicePlan } from '../plan/types.ts';
import type { ProxyHealth } from './health/proxy-health.ts';

export type ProxyOptions = {
  readonly client: Client;
  readonly nodeName: string;
  /** The node's primary addresses, one per family. */
  readonly nodeIPs: readonly string[];
  /**
   * Which of the node's addresses answer on node ports: `primary`, or prefixes, of which 0.0.0.0/0
   * and ::/0 stand for every address (P30-P34). Default: `primary`.
   */
  readonly nodePortAddresses?: readonly string[];
  /** How traffic from pods of this node is told from other traffic (P66). */
  readonly detectLocal: DetectLocal;
  /**
   * New connections to unallocated addresses in here are dropped (P92). Absent: what the API
   * server's ServiceCIDR objects say, followed as they change.
   */
  readonly serviceCidrs?: readonly string[];
  readonly masqueradeAll?: boolean;
  /** Those whose rules are kept; both unless the machine lacks one (P137). */
  readonly families?: readonly IpFamily[];
  /** Least time between the end of a sync and the next one (P127); 0: at once, the default. */
  readonly minSyncPeriodMs?: number;
  /** A failed sync is tried again after this at the latest. */
  readonly syncPeriodMs?: number;
  /** The bit of the packet mark that asks for masquerading, 0-31. Default: 14 (P67). */
  readonly masqueradeBit?: number;
  /** Of Services without the annotation `fairlead.dev/balancing`. Default: `random`. */
  readonly balancing?: Balancing;
  /** Shared with the rest of the process; otherwise the proxy has its own. */
  readonly informers?: Informers;
  /** The node's own object alone, already followed by somebody else. */
  readonly nodes?: Informer<Node>;
  /** Told what goes on, for metrics. */
  readonly observer?: ProxyObserver;
  readonly log: Logger;
  readonly clock?: Clock;
  /** Whole numbers below 2^32. */
  readonly random?: () => number;
  /** Called after each commit, for measurements. */
  readonly onSync?: (sync: Sync) => void;
};

/**
 * How pods of this node are recognised (P66): by source addresses in the cluster's prefixes, in
 * the node's own ones (`spec.podCIDRs` of its Node), or by the interface they come in by.
 */
export type DetectLocal =
  | { readonly mode: 'ClusterCIDR'; readonly cidrs: readonly string[] }
  | { readonly mode: 'NodeCIDR' }
  | { readonly mode: 'BridgeInterface'; readonly bridge: string }
  | { readonly mode: 'InterfaceNamePrefix'; readonly prefix: string };

/** Whoever counts. Nothing of it may throw. */
export type ProxyObserver = {
  /** A Service changed that the proxy will look at. */
  serviceChanged(): void;
  /** The same for a slice. */
  sliceChanged(old: EndpointSlice | undefined, current: EndpointSlice | undefined): void;
  /** A Service was planned anew; undefined when it has no rules. */
  planned(service: string, plan: ServicePlan | undefined): void;
  /** A sync of one family ended: all that was noted is in the kernel, or `error` says why not. */
  synced(sync: FamilySync): void;
  /** Flows of a family were looked through. */
  cleaned(cleaning: FlowCleaning): void;
};

export type FamilySync = {
  readonly family: IpFamily;
  /** Everything was compared with the kernel, as after a start or a failure. */
  readonly full: boolean;
  readonly durationMs: number;
  /** Chains that nobody needs could not be deleted yet; they are tried again (P126). */
  readonly cleanupFailed: boolean;
  readonly error?: unknown;
};

export type FlowCleaning = {
  readonly family: IpFamily;
  readonly durationMs: number;
  readonly deleted: number;
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
  /** What the kernel was sent for that. */
  readonly sent: Traffic;
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
  /** Whether it keeps up with the news. */
  readonly health: ProxyHealth;
  /** Addresses that two Services claim, and which of them is served (P44). */
  readonly clashes: readonly Clash[];
  /** Packets to node ports on loopback addresses that were refused; read from the kernel (P36). */
  readonly localhostRejected: number;
  readonly stop: () => Promise<void>;
};
