/** What the stages of all blocks share with the world outside the configuration. */
import type { Client } from '../client/client.ts';
import type { RequestFacts } from '../client/http-client.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { ApiSettings } from './config/types.ts';
import type { DnsCounters } from './counters.ts';
import type { Name } from './wire/name.ts';

export type World = {
  /** Another process of this user may have the same sockets. */
  readonly handsOver?: boolean;
  /** The client tells of every request it makes. */
  readonly clientFor: (
    api: ApiSettings,
    onRequest: (facts: RequestFacts) => void,
  ) => Client | Promise<Client>;
  readonly counters: DnsCounters;
  readonly clock: Clock;
  /** The search list of this machine. */
  readonly hostSearch: readonly Name[];
  /** Between 0 and 1. */
  readonly random: () => number;
  readonly log: Logger | undefined;
  /** Writes a line for people, as `log` and `errors` do. */
  readonly print: (line: string) => void;
};
