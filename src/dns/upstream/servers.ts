/** Which servers know the names that are not ours. */
import { familyOf, formatHostPort } from '../../lib/ip.ts';
import { UserError } from '../../lib/errors.ts';
import { dnsLimits } from '../limits.ts';
import { parseName, type Name } from '../wire/name.ts';

export type Server = { readonly host: string; readonly port: number };

const dnsPort = 53;

/** `192.0.2.1`, `192.0.2.1:5353`, `2001:db8::1` or `[2001:db8::1]:5353`. */
export function parseServer(text: string): Server {
  const bracketed = /^\[([^\]]+)\](?::(\d{1,5}))?$/.exec(text);
  const dotted = /^([\d.]+):(\d{1,5})$/.exec(text);
  const [, host = text, portText] = bracketed ?? dotted ?? [];
  const port = portText === undefined ? dnsPort : Number(portText);
  if (familyOf(host) === undefined || port < 1 || port > 65_535) {
    throw new UserError(
      'BAD_UPSTREAM',
      `Cannot forward to "${text}": it is not an IP address with an optional port`,
      { hint: 'Write it like 192.0.2.1, 192.0.2.1:5353 or [2001:db8::1]:5353' },
    );
  }
  return { host, port };
}

/** The nameservers of a resolv.conf(5); lines it does not know are left to others. */
export function parseResolvConf(text: string): string[] {
  const hosts: string[] = [];
  for (const line of text.split('\n')) {
    const [keyword, value = ''] = line.trim().split(/\s+/);
    const host = value.replace(/%.*$/, '');
    if (keyword === 'nameserver' && familyOf(host) !== undefined) hosts.push(host);
  }
  return hosts.slice(0, dnsLimits.upstreamsMax);
}

/** As `parseServer` reads it; the usual port is left out. */
export function formatServer({ host, port }: Server): string {
  return port === dnsPort ? host : formatHostPort(host, port);
}

/** The search list of a resolv.conf(5); the last line that has one counts. */
export function parseSearchList(text: string): Name[] {
  const lists = text.split('\n').flatMap((line) => {
    const [keyword, ...names] = line.trim().split(/\s+/);
    return keyword === 'search' || keyword === 'domain' ? [names] : [];
  });
  return (lists.at(-1) ?? [])
    .map((name) => parseName(name.toLowerCase()))
    .filter((name) => name !== undefined);
}
