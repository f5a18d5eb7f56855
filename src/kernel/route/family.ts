/** Addresses and prefixes as rtnetlink carries them. */
import { formatIp, ipBytes, parseCidr, type Cidr } from '../../lib/ip.ts';
import { DecodeError } from '../netlink/attr.ts';
import { AF_INET, AF_INET6 } from './constants.ts';

/** `AF_INET` or `AF_INET6` of an address text. */
export function familyNumber(address: string): number {
  return address.includes(':') ? AF_INET6 : AF_INET;
}

/** Whether a message's family is one of the two that carry IP. */
export function isIpFamily(family: number | undefined): boolean {
  return family === AF_INET || family === AF_INET6;
}

/** The bytes of a prefix text; throws RangeError for other text. */
export function cidrOf(text: string): Cidr {
  const cidr = parseCidr(text);
  if (cidr === undefined) throw new RangeError(`"${text}" is not a prefix`);
  return cidr;
}

/** Text of an address in an attribute. */
export function decodeIp(bytes: Uint8Array): string {
  if (bytes.length !== 4 && bytes.length !== 16) {
    throw new DecodeError(`an IP address of ${bytes.length} bytes`);
  }
  return formatIp(bytes);
}

/** The address with all bits zero. */
export function anyAddress(family: number): string {
  return family === AF_INET6 ? '::' : '0.0.0.0';
}

export { ipBytes };
