/** The expressions our rules are made of, by number of the word (0-15) they work on. */
import { registerAt, type Expression } from '../../kernel/nftables/index.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { numberWord } from './words.ts';

/** Words of a register file that an address takes. */
export function addressWords(family: IpFamily): number {
  return family === 'ipv4' ? 1 : 4;
}

/** Where source and destination stand in an IPv4 header (RFC 791) and an IPv6 one (RFC 8200). */
export function address(
  family: IpFamily,
  which: 'source' | 'destination',
  word: number,
): Extract<Expression, { kind: 'payload'; dreg: unknown }> {
  const length = family === 'ipv4' ? 4 : 16;
  const first = family === 'ipv4' ? 12 : 8;
  const offset = which === 'source' ? first : first + length;
  return { kind: 'payload', base: 'network', offset, length, dreg: registerAt(word) };
}

/** TCP, UDP and SCTP have it in the same place. */
export function destinationPort(word: number): Expression {
  return { kind: 'payload', base: 'transport', offset: 2, length: 2, dreg: registerAt(word) };
}

type Lookup = Extract<Expression, { kind: 'lookup' }>;

/** Ends the rule when the key is not in the set; a map gives what it holds `into` a word. */
export function lookup(set: string, word: number, into?: number): Lookup {
  const dreg = into === undefined ? {} : { dreg: registerAt(into) };
  return { kind: 'lookup', set, sreg: registerAt(word), ...dreg };
}

/** Ends the rule when the key is in the set. */
export function inverted(expression: Lookup): Lookup {
  return { ...expression, inverted: true };
}

/** Goes on in the chain of the class at this word; ends the rule when there is none. */
export function toClass(word: number): Expression {
  return { kind: 'lookup', set: 'classes', sreg: registerAt(word), dreg: 0 };
}

type Bitwise = Extract<Expression, { kind: 'bitwise' }>;

/** Keeps the bits of `mask` in a word, and flips those of `xor`. */
export function bitwise(word: number, { mask, xor }: { mask: number; xor: number }): Bitwise {
  const register = registerAt(word);
  return {
    kind: 'bitwise',
    op: 'mask',
    sreg: register,
    dreg: register,
    length: 4,
    mask: bytes(numberWord(mask)),
    xor: bytes(numberWord(xor)),
  };
}

/** Ends the rule unless the word holds the value, or another one. */
export function compare(op: 'eq' | 'neq', word: number, value: number): Expression {
  return { kind: 'cmp', op, sreg: registerAt(word), data: bytes(numberWord(value)) };
}

/** Goes to a chain and comes back. */
export function jump(chain: string): Expression {
  return { kind: 'verdict', verdict: { kind: 'jump', chain } };
}

/** Goes to a chain for good. */
export function goTo(chain: string): Expression {
  return { kind: 'verdict', verdict: { kind: 'goto', chain } };
}

/** Drops the packet, or goes back to where the chain was jumped to from. */
export function verdict(kind: 'drop' | 'return'): Expression {
  return { kind: 'verdict', verdict: { kind } };
}

/** The bytes of hex text. */
export function bytes(hex: string): Uint8Array {
  return Uint8Array.fromHex(hex);
}
