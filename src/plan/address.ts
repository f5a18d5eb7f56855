/**
 * Addresses as old API objects may hold them: `172.30.0.041`, `203.0.113.000/025`, blanks around.
 * Kubernetes reads leading zeros as decimal (Go's netutils.ParseIPSloppy), and so do we (P19).
 */
import {
  canonicalIp,
  familyOf,
  formatCidr,
  isCanonicalIpv4,
  parseCidr,
  type IpFamily,
} from '../lib/ip.ts';

/** The canonical spelling of an address, forgiving leading zeros; undefined when it is none. */
export function normalIp(text: string): string | undefined {
  // Nearly every address is one already: this is where the time of a large plan goes.
  if (isCanonicalIpv4(text)) return text;
  const plain = withoutLeadingZeros(text.trim());
  const canonical = canonicalIp(plain);
  // Go keeps an IPv4-mapped address as the IPv4 address it stands for.
  return canonical?.startsWith('::ffff:') === true && canonical.includes('.')
    ? canonical.slice(7)
    : canonical;
}

/** As `normalIp`, only of one family. Some writers leave null where there is none. */
export function normalIpOf(family: IpFamily, text: string | undefined | null): string | undefined {
  const address = text === undefined || text === null ? undefined : normalIp(text);
  return address !== undefined && familyOf(address) === family ? address : undefined;
}

/** The canonical spelling of a prefix, host bits dropped; undefined when it is none. */
export function normalCidr(text: string): string | undefined {
  const [address = '', length, ...rest] = text.trim().split('/');
  if (length === undefined || rest.length > 0 || !/^\d{1,3}$/.test(length)) return undefined;
  const cidr = parseCidr(`${withoutLeadingZeros(address)}/${Number(length)}`);
  return cidr === undefined ? undefined : formatCidr(cidr);
}

function withoutLeadingZeros(text: string): string {
  if (!/^\d{1,9}(\.\d{1,9}){3}$/.test(text)) return text;
  return text.split('.').map(Number).join('.');
}

/** Whether it can stand in a TCP, UDP or SCTP header. */
export function isPortNumber(number: number | undefined | null): number is number {
  return Number.isInteger(number) && number! >= 1 && number! <= 65_535;
}
