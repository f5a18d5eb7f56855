/** Short names for the contents of a pod template. */
import { isDeepStrictEqual } from 'node:util';
import type { PodTemplateSpec } from '../api/types.ts';

export const templateHashLabel = 'pod-template-hash';

/** No vowels, no lookalikes: the hash cannot spell a word (apimachinery util/rand). */
const alphabet = 'bcdfghjklmnpqrstvwxz2456789';

/** A name part for the template; `collisions` gives another one when it is taken. */
export function templateHash(template: unknown, collisions = 0): string {
  let hash = 0x811c9dc5;
  // FNV-1a: spread, not secrecy.
  for (const byte of Buffer.from(`${canonicalJson(template)}#${collisions}`)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return hash.toString().replaceAll(/\d/g, (digit) => alphabet[(Number(digit) * 7) % 27]!);
}

/** The same text for the same data, whatever the order of its fields. */
export function canonicalJson(value: unknown): string {
  return JSON.stringify(value, (_, inner: unknown) => {
    if (typeof inner !== 'object' || inner === null || Array.isArray(inner)) return inner;
    const entries = Object.entries(inner).sort(([a], [b]) => (a < b ? -1 : 1));
    return Object.fromEntries(entries);
  });
}

/** Whether the templates make the same pods; the hash label is ours and does not count. */
export function sameTemplate(a: PodTemplateSpec | undefined, b: PodTemplateSpec): boolean {
  return a !== undefined && isDeepStrictEqual(withoutHash(a), withoutHash(b));
}

function withoutHash(template: PodTemplateSpec): unknown {
  const { metadata = {}, spec } = template;
  const { labels = {}, creationTimestamp: _, ...rest } = metadata;
  const { [templateHashLabel]: __, ...others } = labels;
  return { metadata: { ...rest, labels: others }, spec };
}
