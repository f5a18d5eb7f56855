/** What every pod worker of a node shares. */
import type { Pod, Service } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import type { Clock } from '../../lib/clock.ts';
import type { Logger } from '../../lib/log.ts';
import type { ResolvConf } from '../environment/resolv-conf.ts';
import type { LogStore } from '../logs/log-store.ts';
import type { Runtime } from '../runtime.ts';
import type { ObjectStore } from '../volumes/object-store.ts';
import type { TokenStore } from '../volumes/tokens.ts';
import type { AddressPool } from './address-pool.ts';
import type { RecordStore } from './record.ts';

export type PodEvent = {
  readonly type: 'Normal' | 'Warning';
  readonly reason: string;
  readonly message: string;
  /** The container it is about. */
  readonly container?: string;
};

export type NodeContext = {
  readonly client: Client;
  readonly runtime: Runtime;
  readonly clock: Clock;
  readonly log: Logger;
  readonly nodeName: string;
  readonly nodeIPs: readonly string[];
  readonly clusterDomain: string;
  readonly clusterDns: readonly string[];
  readonly hostResolvConf: ResolvConf;
  readonly allocatable: Readonly<Record<string, string>>;
  /** Settles when the node knows its pod CIDRs. */
  readonly addresses: () => Promise<AddressPool>;
  readonly records: RecordStore;
  readonly tokens: TokenStore;
  readonly objects: ObjectStore;
  readonly logs: LogStore;
  /** Every Service the node knows; settles once the first list is in. */
  readonly services: () => Promise<readonly Service[]>;
  readonly record: (pod: Pod, event: PodEvent) => void;
  /** Directory in memory, and one on disk; the pod's own things lie in `<dir>/<uid>`. */
  readonly memoryDir: string;
  readonly diskDir: string;
};
