/**
 * Registers are 16 words of 4 bytes. The kernel numbers them twice: 1-4 are the quarters of 16
 * bytes, 8-23 the words; what begins on a quarter is always shown by its quarter's number.
 */
import { required, type Attributes } from '../../netlink/attr.ts';

/** A register as nft prints it: 1-4, or 9-23 in between. 8, 12, 16 and 20 are taken for 1-4. */
export type Register = number;

const NFT_REG32_00 = 8;

/** The register that begins at a word (0-15); a key of several parts lies in words that follow. */
export function registerAt(word: number): Register {
  return word % 4 === 0 ? 1 + word / 4 : NFT_REG32_00 + word;
}

/** The one number of a register that has two. */
export function canonicalRegister(register: Register): Register {
  return register >= NFT_REG32_00 ? registerAt(register - NFT_REG32_00) : register;
}

/** The register an attribute names. */
export function decodeRegister(attrs: Attributes, type: number): Register {
  return canonicalRegister(required(attrs.u32be(type), 'register'));
}

/** As `decodeRegister`, when it may be absent. */
export function decodeOptionalRegister(attrs: Attributes, type: number): Register | undefined {
  const register = attrs.u32be(type);
  return register === undefined ? undefined : canonicalRegister(register);
}
