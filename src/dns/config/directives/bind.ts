/** `bind ADDRESS|INTERFACE… { except … }` */
import { networkInterfaces } from 'node:os';

import { familyOf } from '../../../lib/ip.ts';
import { argumentsOf, readProperties } from '../arguments.ts';
import type { Line } from '../parse.ts';
import { fault, type Token } from '../tokens.ts';

/** The addresses to listen on; several lines add up. */
export function readBind(lines: readonly Line[]): readonly string[] {
  return lines.flatMap((line) => {
    const addresses = argumentsOf(line, { min: 1 }).flatMap(addressesOf);
    const except: string[] = [];
    readProperties(line, {
      except: (inner) => except.push(...argumentsOf(inner, { min: 1 }).flatMap(addressesOf)),
    });
    return addresses.filter((address) => !except.includes(address));
  });
}

function addressesOf(token: Token): string[] {
  const found = networkInterfaces()[token.text];
  if (found !== undefined) {
    return found.map(({ address, scopeid }) =>
      scopeid === undefined || scopeid === 0 ? address : `${address}%${token.text}`,
    );
  }
  if (familyOf(token.text.replace(/%.*$/, '')) !== undefined) return [token.text];
  throw fault(token, `"${token.text}" is neither an IP address nor an interface of this machine`);
}
