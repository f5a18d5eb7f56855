/** Which servers know the names that are not ours. */
import { familyOf, formatHostPort } from '../../lib/ip.ts';
import { UserError } from '../../lib/errors.ts';
import { dnsLimits } from '../limits.ts';
import { parseName, type Name } from '../wire/name.ts';

export type UpstreamScheme = 'dns' | 'tls' | 'https';

export type Server = {
  readonly scheme: UpstreamScheme;
  readonly host: string;
  readonly port: number;
  /** The name its certificate must have, where it is not the address (`tls://192.0.2.1%name`). */
  readonly serverName?: string;
};

const usualPorts: Record<UpstreamScheme, number> = { dns: 53, tls: 853, https: 443 };

/** `192.0.2.1`, `192.0.2.1:5353`, `[2001:db8::1]:5353`, `tls://192.0.2.1%dns.example` and so on. */
export function parseServer(text: string): Server {
  const [, schemeText = 'dns', rest = ''] = /^(?:(\w+):\/\/)?(.*)$/s.exec(text)!;
  const scheme = (['dns', 'tls', 'https'] as const).find((known) => known === schemeText);
  const bracketed = /^\[([^\]%]+)(?:%([^\]]+))?\](?::(\d{1,5}))?$/.exec(rest);
  const plain = /^([\d.]+)(?:%([^:]+))?(?::(\d{1,5}))?$/.exec(rest);
  const [, host = rest, serverName, portText] = bracketed ?? plain ?? [];
  const port = portText === undefined ? usualPorts[scheme ?? 'dns'] : Number(portText);
  if (scheme === undefined || familyOf(host) === undefined || port < 1 || port > 65_535) {
    throw new UserError(
      'BAD_UPSTREAM',
      `Cannot forward to "${text}": it is not an IP address with an optional port`,
      { hint: 'Write it like 192.0.2.1, 192.0.2.1:5353, [2001:db8::1]:5353 or tls://192.0.2.1' },
    );
  }
  return { scheme, host, port, ...(serverName === undefined ? {} : { serverName }) };
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

/** As `parseServer` reads it. */
export function formatServer({ scheme, host, port }: Server): string {
  const prefix = scheme === 'dns' ? '' : `${scheme}://`;
  return `${prefix}${formatHostPort(host, port)}`;
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
