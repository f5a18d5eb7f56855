/** A configuration as text, for `fairlead dns --check`: every setting with the value it has. */
import { formatHostPort } from '../../lib/ip.ts';
import { formatName } from '../wire/name.ts';
import type { Configuration, Site } from './types.ts';

/** One paragraph a block: where it serves what, then each directive with its settings. */
export function formatConfiguration({ blocks }: Configuration): string {
  return blocks
    .map(({ sites, plugins }) => {
      const lines = Object.entries(plugins).flatMap(([name, settings]) => linesOf(name, settings));
      return [...sites.map(siteText), ...lines.map((line) => `  ${line}`)].join('\n');
    })
    .join('\n\n');
}

function siteText({ zone, scheme, host, port }: Site): string {
  return `${formatName(zone)} on ${scheme}://${formatHostPort(host, port)}`;
}

function linesOf(name: string, value: unknown): string[] {
  if (value === undefined) return [];
  if (Array.isArray(value) && value.some((item) => isPlainObject(item) && !isHostPort(item))) {
    return value.flatMap((item) => linesOf(name, item));
  }
  if (!isPlainObject(value) || isHostPort(value)) return [`${name}: ${valueText(value)}`];
  const inner = Object.entries(value).flatMap(([key, item]) => linesOf(key, item));
  return [inner.length === 0 ? name : `${name}:`, ...inner.map((line) => `  ${line}`)];
}

function isPlainObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null && value.constructor === Object;
}

function isHostPort(value: unknown): value is { host: string; port: number } {
  return isPlainObject(value) && 'host' in value && 'port' in value;
}

function valueText(value: unknown): string {
  if (Array.isArray(value)) return value.length === 0 ? 'none' : value.map(valueText).join(' ');
  if (isHostPort(value)) return formatHostPort(value.host, value.port);
  // A name in wire form ends in the root's zero byte.
  if (typeof value === 'string' && value.endsWith('\0')) return formatName(value);
  return value === Infinity ? 'unlimited' : String(value);
}
