/** `cache [TTL] [ZONE…] { … }` */
import { dnsLimits } from '../../limits.ts';
import { root } from '../../wire/name.ts';
import { argumentsOf, numberOf, oneOf, onlyOne, readProperties, zonesOf } from '../arguments.ts';
import type { Line } from '../parse.ts';
import type { CacheHalf, CacheSettings } from '../types.ts';
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
  readProperties(line, {
    success: (inner) => (found.success = halfOf(inner, found.success)),
    denial: (inner) => (found.denial = halfOf(inner, found.denial)),
    disable: (inner) => {
      const [kind, ...named] = argumentsOf(inner, { min: 1 });
      const half = oneOf(kind!, ['success', 'denial']);
      const disabled = named.length === 0 ? [root] : named.flatMap(zonesOf);
      found[half] = { ...found[half], disabled };
    },
  });
  return found;
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
