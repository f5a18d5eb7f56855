/**
 * Keys and data of set elements as hex text: what maps in memory are keyed by, one step from the
 * bytes the kernel wants. In a concatenation every field is padded to 4 bytes
 * (net/netfilter/nft_set_hash.c compares whole registers).
 */
import type { Protocol } from '../../api/types.ts';
import { ipBytes } from '../../lib/ip.ts';

/** IANA protocol numbers. */
export const PROTOCOL_NUMBERS: Readonly<Record<Protocol, number>> = { TCP: 6, UDP: 17, SCTP: 132 };

/** An address, 4 or 16 bytes. */
export function addressWord(address: string): string {
  return ipBytes(address).toHex();
}

/** A port in network order, padded. */
export function portWord(port: number): string {
  return `${port.toString(16).padStart(4, '0')}0000`;
}

/** A transport protocol, one byte padded. */
export function protocolWord(protocol: Protocol): string {
  return `${PROTOCOL_NUMBERS[protocol].toString(16).padStart(2, '0')}000000`;
}

/** A number in the machine's order, as `numgen` and `meta mark` leave it in a register. */
export function numberWord(value: number): string {
  const swapped =
    ((value & 0xff) << 24) |
    ((value & 0xff00) << 8) |
    ((value >>> 8) & 0xff00) |
    ((value >>> 24) & 0xff);
  return (swapped >>> 0).toString(16).padStart(8, '0');
}

/** The number at byte `offset`: the reverse of `numberWord`. */
export function numberAt(hex: string, offset: number): number {
  const at = offset * 2;
  const bytes = [0, 2, 4, 6].map((step) =>
    Number.parseInt(hex.slice(at + step, at + step + 2), 16),
  );
  return bytes.reduce((value, byte, index) => value + byte * 2 ** (8 * index), 0);
}

/** What packets are dispatched by: destination address, protocol, destination port. */
export function frontendWord(frontend: {
  address: string;
  protocol: Protocol;
  port: number;
}): string {
  return addressWord(frontend.address) + protocolWord(frontend.protocol) + portWord(frontend.port);
}
