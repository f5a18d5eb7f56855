/** A configuration as text, for `fairlead dns --check`: every setting with the value it has. */
import { formatCidr, formatHostPort, type Cidr } from '../../lib/ip.ts';
import { formatServer, type Server } from '../upstream/servers.ts';
import { formatName } from '../wire/name.ts';
import type { GoTemplate } from './go-template.ts';
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
  if (Array.isArray(value) && value.some((item) => textOf(item) === undefined)) {
    return value.flatMap((item) => linesOf(name, item));
  }
  const text = Array.isArray(value) ? listText(value) : textOf(value);
  if (text !== undefined) return [`${name}: ${text}`];
  const inner = Object.entries(value as object).flatMap(([key, item]) => linesOf(key, item));
  return [inner.length === 0 ? name : `${name}:`, ...inner.map((line) => `  ${line}`)];
}

function listText(values: readonly unknown[]): string {
  return values.length === 0 ? 'none' : values.map(textOf).join(' ');
}

type Known = Partial<Server & Cidr & GoTemplate>;

/** A value in one word or few; undefined for one that needs lines of its own. */
function textOf(value: unknown): string | undefined {
  if (value instanceof Set) return listText([...value]);
  if (value instanceof RegExp) return String(value);
  if (typeof value === 'object' && value !== null) {
    const { scheme, host, port, serverName, prefixLength, fill, text } = value as Known;
    if (prefixLength !== undefined) return formatCidr(value as Cidr);
    if (fill !== undefined) return text;
    if (host === undefined || port === undefined) return undefined;
    if (scheme === undefined) return formatHostPort(host, port);
    return `${formatServer({ scheme, host, port })}${serverName === undefined ? '' : ` as ${serverName}`}`;
  }
  // A name in wire form ends in the root's zero byte.
  if (typeof value === 'string' && value.endsWith('\0')) return formatName(value);
  return value === Infinity ? 'unlimited' : String(value);
}
