/** What the stages of all blocks share with the world outside the configuration. */
import type { Client } from '../client/client.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { ApiSettings } from './config/types.ts';
import type { DnsCounters } from './counters.ts';

export type World = {
  readonly clientFor: (api: ApiSettings) => Client;
  readonly counters: DnsCounters;
  readonly clock: Clock;
  /** Between 0 and 1. */
  readonly random: () => number;
  readonly log: Logger | undefined;
};
