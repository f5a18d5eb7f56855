/** Rewrites addresses and ports: `dnat to`, `snat to`, `masquerade`, `redirect`. */
import { attr, required, type Attr, type Attributes } from '../../netlink/attr.ts';
import { bitsOf, nameOf, namesOf, type Codec } from './codec.ts';
import { canonicalRegister, decodeOptionalRegister, type Register } from './registers.ts';

const NFTA_NAT_TYPE = 1;
const NFTA_NAT_FAMILY = 2;
const NFTA_NAT_REG_ADDR_MIN = 3;
const NFTA_NAT_REG_ADDR_MAX = 4;
const NFTA_NAT_REG_PROTO_MIN = 5;
const NFTA_NAT_REG_PROTO_MAX = 6;
const NFTA_NAT_FLAGS = 7;

const NFTA_MASQ_FLAGS = 1;
const NFTA_MASQ_REG_PROTO_MIN = 2;
const NFTA_MASQ_REG_PROTO_MAX = 3;

const NFTA_REDIR_REG_PROTO_MIN = 1;
const NFTA_REDIR_REG_PROTO_MAX = 2;
const NFTA_REDIR_FLAGS = 3;

const TYPES = { snat: 0, dnat: 1 } as const;
const FAMILIES = { ip: 2, ip6: 10 } as const;

/** "Addresses given" and "ports given" (bits 0 and 1) follow from the registers. */
const NF_NAT_RANGE_PROTO_SPECIFIED = 2;
const FLAGS = { random: 4, persistent: 8, 'fully-random': 16, netmap: 64 } as const;

export type NatFlag = keyof typeof FLAGS;

type Ports = {
  readonly protoMin?: Register;
  readonly protoMax?: Register;
  readonly flags?: readonly NatFlag[];
};

export type Nat = Ports & {
  readonly kind: 'nat';
  readonly type: keyof typeof TYPES;
  readonly family: keyof typeof FAMILIES;
  readonly addrMin?: Register;
  readonly addrMax?: Register;
};

/** The source becomes the address of the interface the packet leaves by. */
export type Masq = Ports & { readonly kind: 'masq' };

/** The destination becomes this host. */
export type Redir = Ports & { readonly kind: 'redir' };

export const nat: Codec<Nat> = {
  name: 'nat',
  encode: (expression) => [
    attr.u32be(NFTA_NAT_TYPE, TYPES[expression.type]),
    attr.u32be(NFTA_NAT_FAMILY, FAMILIES[expression.family]),
    ...registerAttr(NFTA_NAT_REG_ADDR_MIN, expression.addrMin),
    ...registerAttr(NFTA_NAT_REG_ADDR_MAX, expression.addrMax),
    ...registerAttr(NFTA_NAT_REG_PROTO_MIN, expression.protoMin),
    ...registerAttr(NFTA_NAT_REG_PROTO_MAX, expression.protoMax),
    ...flagsAttr(NFTA_NAT_FLAGS, expression),
  ],
  decode(attrs) {
    const addrMin = decodeOptionalRegister(attrs, NFTA_NAT_REG_ADDR_MIN);
    const addrMax = decodeOptionalRegister(attrs, NFTA_NAT_REG_ADDR_MAX);
    const family = required(attrs.u32be(NFTA_NAT_FAMILY), 'nat family');
    return {
      kind: 'nat',
      type: nameOf(TYPES, required(attrs.u32be(NFTA_NAT_TYPE), 'nat type'), 'nat type'),
      family: nameOf(FAMILIES, family, 'nat family'),
      ...(addrMin !== undefined && { addrMin }),
      // The kernel shows the end of the range even when it is the start.
      ...(addrMax !== undefined && addrMax !== addrMin && { addrMax }),
      ...decodePorts(attrs, {
        min: NFTA_NAT_REG_PROTO_MIN,
        max: NFTA_NAT_REG_PROTO_MAX,
        flags: NFTA_NAT_FLAGS,
      }),
    };
  },
  format(expression) {
    const { type, family, addrMin, addrMax } = expression;
    const address = addrMin === undefined ? '' : ` addr_min reg ${addrMin}`;
    const end = addrMax === undefined ? '' : ` addr_max reg ${addrMax}`;
    return `nat ${type} ${family}${address}${end}${formatPorts(expression)}`;
  },
};

export const masq: Codec<Masq> = {
  name: 'masq',
  encode: (expression) => [
    ...flagsAttr(NFTA_MASQ_FLAGS, expression),
    ...registerAttr(NFTA_MASQ_REG_PROTO_MIN, expression.protoMin),
    ...registerAttr(NFTA_MASQ_REG_PROTO_MAX, expression.protoMax),
  ],
  decode: (attrs) => ({
    kind: 'masq',
    ...decodePorts(attrs, {
      min: NFTA_MASQ_REG_PROTO_MIN,
      max: NFTA_MASQ_REG_PROTO_MAX,
      flags: NFTA_MASQ_FLAGS,
    }),
  }),
  format: (expression) => `masq${formatPorts(expression)}`,
};

export const redir: Codec<Redir> = {
  name: 'redir',
  encode: (expression) => [
    ...registerAttr(NFTA_REDIR_REG_PROTO_MIN, expression.protoMin),
    ...registerAttr(NFTA_REDIR_REG_PROTO_MAX, expression.protoMax),
    ...flagsAttr(NFTA_REDIR_FLAGS, expression),
  ],
  decode: (attrs) => ({
    kind: 'redir',
    ...decodePorts(attrs, {
      min: NFTA_REDIR_REG_PROTO_MIN,
      max: NFTA_REDIR_REG_PROTO_MAX,
      flags: NFTA_REDIR_FLAGS,
    }),
  }),
  format: (expression) => `redir${formatPorts(expression)}`,
};

function registerAttr(type: number, register: Register | undefined): Attr[] {
  return register === undefined ? [] : [attr.u32be(type, canonicalRegister(register))];
}

function flagsAttr(type: number, ports: Ports): Attr[] {
  const bits = flagBits(ports);
  return bits === 0 ? [] : [attr.u32be(type, bits)];
}

function flagBits({ protoMin, flags = [] }: Ports): number {
  return bitsOf(FLAGS, flags) | (protoMin === undefined ? 0 : NF_NAT_RANGE_PROTO_SPECIFIED);
}

function decodePorts(
  attrs: Attributes,
  types: { readonly min: number; readonly max: number; readonly flags: number },
): Ports {
  const protoMin = decodeOptionalRegister(attrs, types.min);
  const protoMax = decodeOptionalRegister(attrs, types.max);
  const flags = namesOf(FLAGS, attrs.u32be(types.flags) ?? 0);
  return {
    ...(protoMin !== undefined && { protoMin }),
    ...(protoMax !== undefined && protoMax !== protoMin && { protoMax }),
    ...(flags.length > 0 && { flags }),
  };
}

function formatPorts(ports: Ports): string {
  const { protoMin, protoMax } = ports;
  const min = protoMin === undefined ? '' : ` proto_min reg ${protoMin}`;
  const max = protoMax === undefined ? '' : ` proto_max reg ${protoMax}`;
  const bits = flagBits(ports);
  return `${min}${max}${bits === 0 ? '' : ` flags 0x${bits.toString(16)}`}`;
}
