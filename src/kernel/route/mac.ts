/** Link-layer addresses: `02:42:ac:11:00:02` as text, 6 bytes on the wire. */
import { DecodeError } from '../netlink/attr.ts';

/** The bytes of an address such as `02:42:ac:11:00:02`; throws RangeError for other text. */
export function macBytes(text: string): Uint8Array {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(text)) {
    throw new RangeError(`"${text}" is not a link-layer address`);
  }
  return Uint8Array.from(text.split(':'), (part) => Number.parseInt(part, 16));
}

/** Lower-case text of an address of any length; links without one give the empty string. */
export function formatMac(bytes: Uint8Array): string {
  if (bytes.length > 32) throw new DecodeError(`a link-layer address of ${bytes.length} bytes`);
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, '0')).join(':');
}
