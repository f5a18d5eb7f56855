/** `cache [TTL] [ZONE…] { … }` */
import { dnsLimits } from '../../limits.ts';
import { root } from '../../wire/name.ts';
import {
  argumentOf,
  argumentsOf,
  durationOf,
  flagOf,
  numberOf,
  oneOf,
  onlyOne,
  readProperties,
  zonesOf,
} from '../arguments.ts';
import type { Line } from '../parse.ts';
import { fault } from '../tokens.ts';
import type { CacheHalf, CacheSettings, PrefetchSettings, ServeStaleSettings } from '../types.ts';
import { zonesOrBlock, type Context } from './directive.ts';

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

export function readCache(lines: readonly Line[], context: Context): CacheSettings {
  const line = onlyOne(lines);
  const [first, ...more] = line.words.slice(1);
  const hasTtl = first !== undefined && /^-?\d+$/.test(first.text);
  const ttl = hasTtl ? numberOf(first, { min: 1 }) : undefined;
  const zones = zonesOrBlock(hasTtl || first === undefined ? more : [first, ...more], context);
  const found: Mutable<CacheSettings> = { ...dnsLimits.cache, zones };
  if (ttl !== undefined) {
    found.success = { ...found.success, ttlSecondsMax: ttl };
    found.denial = { ...found.denial, ttlSecondsMax: ttl };
  }
  let preferPositive: Line | undefined;
  readProperties(line, {
    success: (inner) => (found.success = halfOf(inner, found.success)),
    denial: (inner) => (found.denial = halfOf(inner, found.denial)),
    disable: (inner) => {
      const [kind, ...named] = argumentsOf(inner, { min: 1 });
      const half = oneOf(kind!, ['success', 'denial']);
      const disabled = named.length === 0 ? [root] : named.flatMap(zonesOf);
      found[half] = { ...found[half], disabled };
    },
    prefetch: (inner) => (found.prefetch = prefetchOf(inner)),
    serve_stale: (inner) => (found.serveStale = serveStaleOf(inner)),
    serve_stale_policy: (inner) => {
      oneOf(argumentOf(inner), ['prefer_positive']);
      preferPositive = inner;
    },
    servfail: (inner) => {
      // RFC 2308 §7.1 allows no more.
      const ms = durationOf(argumentOf(inner));
      if (ms > 300_000) throw fault(argumentOf(inner), 'failures are kept for 5m at most');
      found.failureSeconds = ms / 1000;
    },
    keepttl: (inner) => (found.keepTtl = flagOf(inner)),
  });
  if (preferPositive === undefined) return found;
  if (found.serveStale === undefined) {
    throw fault(preferPositive.words[0]!, '"serve_stale_policy" needs "serve_stale"');
  }
  return { ...found, serveStale: { ...found.serveStale, preferPositive: true } };
}

/** `prefetch AMOUNT [DURATION [PERCENTAGE%]]` */
function prefetchOf(line: Line): PrefetchSettings {
  const [amount, window, share] = argumentsOf(line, { min: 1, max: 3 });
  const digits = share === undefined ? undefined : /^(\d+)%$/.exec(share.text)?.[1];
  if (share !== undefined && digits === undefined) {
    throw fault(share, `"${share.text}" must be a percentage such as 20%`);
  }
  return {
    hitsMin: numberOf(amount!),
    windowMs: window === undefined ? 60_000 : durationOf(window),
    percentage:
      digits === undefined ? 10 : numberOf({ ...share!, text: digits }, { min: 10, max: 90 }),
  };
}

/** `serve_stale [DURATION [immediate [TTL [RECHECK]] | verify [TIMEOUT [TTL [RECHECK]]]]]` */
function serveStaleOf(line: Line): ServeStaleSettings {
  const [duration, mode, ...more] = argumentsOf(line, { max: 5 });
  const verifies = mode !== undefined && oneOf(mode, ['immediate', 'verify']) === 'verify';
  const [timeout, ttl, recheck] = verifies ? more : [undefined, ...more];
  if (!verifies && more.length > 2) throw fault(more[2]!, `"${more[2]!.text}" is one too many`);
  const recheckMs = recheck === undefined ? 0 : durationOf(recheck);
  if (recheckMs > 300_000) throw fault(recheck!, 'a failure is checked again in 5m at most');
  return {
    forMs: duration === undefined ? 3_600_000 : durationOf(duration),
    verifyTimeoutMs: verifies ? (timeout === undefined ? 0 : durationOf(timeout)) : undefined,
    ttlSeconds: ttl === undefined ? 0 : Math.floor(durationOf(ttl) / 1000),
    recheckMs,
    preferPositive: false,
  };
}

/** `success CAPACITY [TTL] [MINTTL]` */
function halfOf(line: Line, usual: CacheHalf): CacheHalf {
  const [capacity, ttl, least] = argumentsOf(line, { min: 1, max: 3 });
  return {
    ...usual,
    entriesMax: Math.max(dnsLimits.cacheEntriesMin, numberOf(capacity!)),
    ...(ttl && { ttlSecondsMax: numberOf(ttl, { min: 1 }) }),
    ...(least && { ttlSecondsMin: numberOf(least) }),
  };
}
