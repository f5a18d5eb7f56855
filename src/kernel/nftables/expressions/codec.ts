/** What each kind of expression brings: how it travels, and the line `nft --debug=netlink` prints. */
import { DecodeError, type Attr, type Attributes } from '../../netlink/attr.ts';

export type Codec<Expression> = {
  /** The kernel's name for it. */
  readonly name: string;
  readonly encode: (expression: Expression) => Attr[];
  readonly decode: (attrs: Attributes) => Expression;
  readonly format: (expression: Expression) => string;
};

/** The name that stands for a number; throws `DecodeError` for a number without one. */
export function nameOf<Name extends string>(
  table: Readonly<Record<Name, number>>,
  value: number,
  what: string,
): Name {
  for (const name of Object.keys(table) as Name[]) if (table[name] === value) return name;
  throw new DecodeError(`${what} ${value} is unknown`);
}

/** The names whose bits are set. */
export function namesOf<Name extends string>(
  table: Readonly<Record<Name, number>>,
  bits: number,
): Name[] {
  return (Object.keys(table) as Name[]).filter((name) => (bits & table[name]) !== 0);
}

/** The bits of some names. */
export function bitsOf<Name extends string>(
  table: Readonly<Record<Name, number>>,
  names: readonly Name[] = [],
): number {
  return names.reduce((bits, name) => bits | table[name], 0);
}
