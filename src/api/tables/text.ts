/** Small texts that several tables share. */
import { isIPv6 } from 'node:net';

import type { PodSpec, PodTemplateSpec } from '../types.ts';

/** `a=b,c=d` in the order of the keys, or `<none>`. */
export function labelsText(labels: Record<string, string> | undefined): string {
  const entries = Object.entries(labels ?? {}).sort(([a], [b]) => (a < b ? -1 : 1));
  return orNone(entries.map(([key, value]) => `${key}=${value}`).join(','));
}

export function orNone(text: string | undefined): string {
  return text === undefined || text === '' ? '<none>' : text;
}

/** Names and images of a template's containers, comma-joined. */
export function containersText(template: PodTemplateSpec | undefined): [string, string] {
  const containers: PodSpec['containers'] = template?.spec?.containers ?? [];
  return [
    containers.map(({ name }) => name).join(','),
    containers.map(({ image }) => image ?? '').join(','),
  ];
}

/** The first three, and how many more there are. */
export function firstThree(items: readonly string[]): string {
  const text = items.slice(0, 3).join(',');
  return items.length > 3 ? `${text} + ${items.length - 3} more...` : text;
}

/** An address as it stands before a port. */
export function bracketed(ip: string): string {
  return isIPv6(ip) ? `[${ip}]` : ip;
}
