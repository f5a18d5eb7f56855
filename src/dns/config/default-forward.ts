/** A `forward` without properties (D90a-D90d). */
import { dnsLimits } from '../limits.ts';
import { root } from '../wire/name.ts';
import type { ForwardSettings } from './types.ts';

export const defaultForward: Omit<ForwardSettings, 'from' | 'servers'> = {
  except: [],
  policy: 'random',
  maxConcurrent: dnsLimits.upstreamQueriesMax,
  forceTcp: false,
  maxFails: 2,
  healthCheck: { intervalMs: 500, recursionDesired: true, domain: root },
  failFast: false,
  readTimeoutMs: dnsLimits.upstreamTryMs,
  maxAttempts: undefined,
  expireMs: 10_000,
  maxAgeMs: 0,
  maxIdle: 0,
  failover: [],
  next: [],
  nextOnNodata: false,
  tls: {},
  tlsServerName: undefined,
  dohMethod: 'POST',
  sourceAddress: undefined,
};
