/** Addresses of links: `ip address`. */
import { attr, required } from '../netlink/attr.ts';
import { NLM_F_CREATE, NLM_F_EXCL, NLM_F_REPLACE } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { decodeBody, encodeBody } from './body.ts';
import {
  AF_UNSPEC,
  IFA_ADDRESS,
  IFA_CACHEINFO,
  IFA_F_DADFAILED,
  IFA_F_NODAD,
  IFA_F_NOPREFIXROUTE,
  IFA_F_PERMANENT,
  IFA_F_TENTATIVE,
  IFA_FLAGS,
  IFA_LABEL,
  IFA_LOCAL,
  RTM_DELADDR,
  RTM_GETADDR,
  RTM_NEWADDR,
} from './constants.ts';
import { decodeIp, familyNumber, ipBytes } from './family.ts';

export type AddressScope = 'global' | 'site' | 'link' | 'host' | 'nowhere';

/** An address to give to a link. */
export type NewAddress = {
  readonly linkIndex: number;
  readonly address: string;
  readonly prefixLength: number;
  /** Default: `host` for loopback addresses, else `global`. */
  readonly scope?: AddressScope;
  /** Usable at once: no duplicate address detection (IPv6). */
  readonly noDad?: boolean;
  /** The kernel makes no route for the prefix. */
  readonly noPrefixRoute?: boolean;
  /** `preferred_lft 0`: IPv6 never chooses it as the source of a new connection. */
  readonly deprecated?: boolean;
};

/** An address as the kernel shows it. */
export type Address = {
  readonly linkIndex: number;
  readonly address: string;
  readonly prefixLength: number;
  readonly scope: AddressScope;
  readonly label: string | undefined;
  readonly permanent: boolean;
  /** Duplicate address detection has not ended (well). */
  readonly tentative: boolean;
  readonly dadFailed: boolean;
};

const SCOPES: Record<AddressScope, number> = {
  global: 0,
  site: 200,
  link: 253,
  host: 254,
  nowhere: 255,
};

/** `ip address add <address>/<prefix> dev <link>` */
export function addAddress(address: NewAddress): Message {
  return newAddress(address, NLM_F_CREATE | NLM_F_EXCL);
}

/** `ip address replace <address>/<prefix> dev <link>` */
export function replaceAddress(address: NewAddress): Message {
  return newAddress(address, NLM_F_CREATE | NLM_F_REPLACE);
}

/** `ip address delete <address>/<prefix> dev <link>` */
export function deleteAddress(
  address: Pick<NewAddress, 'linkIndex' | 'address' | 'prefixLength'>,
): Message {
  return addressMessage(RTM_DELADDR, 0, { ...address, scope: 'global' });
}

/** `ip address show` */
export function listAddresses(linkIndex = 0): Message {
  const body = encodeBody((writer) => {
    writer.u8(AF_UNSPEC);
    writer.u8(0);
    writer.u16(0);
    writer.u32(linkIndex);
  }, []);
  return { type: RTM_GETADDR, flags: 0, body };
}

/** Reads the body of `RTM_NEWADDR` and `RTM_DELADDR`. */
export function decodeAddress(body: Uint8Array): Address {
  const { header, attrs } = decodeBody(body, 8);
  // IFA_LOCAL is our end of a point-to-point link, where IFA_ADDRESS is the other.
  const bytes = attrs.bytes(IFA_LOCAL) ?? attrs.bytes(IFA_ADDRESS);
  const flags = attrs.u32(IFA_FLAGS) ?? header.getUint8(2);
  const scope = header.getUint8(3);
  return {
    linkIndex: header.getUint32(4, true),
    address: decodeIp(required(bytes, 'address')),
    prefixLength: header.getUint8(1),
    scope: scopeName(scope),
    label: attrs.string(IFA_LABEL),
    permanent: (flags & IFA_F_PERMANENT) !== 0,
    tentative: (flags & IFA_F_TENTATIVE) !== 0,
    dadFailed: (flags & IFA_F_DADFAILED) !== 0,
  };
}

function scopeName(scope: number): AddressScope {
  const names = Object.keys(SCOPES) as AddressScope[];
  return names.find((name) => SCOPES[name] === scope) ?? 'global';
}

function newAddress(address: NewAddress, flags: number): Message {
  const loopback = address.address === '::1' || address.address.startsWith('127.');
  const scope = address.scope ?? (loopback ? 'host' : 'global');
  return addressMessage(RTM_NEWADDR, flags, { ...address, scope });
}

/** `struct ifa_cacheinfo`: preferred for 0 s, valid for ever, two stamps that the kernel fills in. */
const deprecatedLifetimes = new Uint8Array(Uint32Array.of(0, 0xffff_ffff, 0, 0).buffer);

/** Every address message opens with `struct ifaddrmsg`. */
function addressMessage(
  type: number,
  flags: number,
  address: NewAddress & { readonly scope: AddressScope },
): Message {
  const bytes = ipBytes(address.address);
  const family = familyNumber(address.address);
  const wanted =
    (address.noDad === true ? IFA_F_NODAD : 0) |
    (address.noPrefixRoute === true ? IFA_F_NOPREFIXROUTE : 0);
  const body = encodeBody(
    (writer) => {
      writer.u8(family);
      writer.u8(address.prefixLength);
      writer.u8(wanted & 0xff);
      writer.u8(SCOPES[address.scope]);
      writer.u32(address.linkIndex);
    },
    [
      attr.bytes(IFA_LOCAL, bytes),
      attr.bytes(IFA_ADDRESS, bytes),
      wanted > 0xff ? attr.u32(IFA_FLAGS, wanted) : undefined,
      address.deprecated === true ? attr.bytes(IFA_CACHEINFO, deprecatedLifetimes) : undefined,
    ],
  );
  return { type, flags, body };
}
