/** What registers, elements and verdict maps hold: bytes, or a verdict. */
import { attr, DecodeError, required, type Attr, type Attributes } from '../netlink/attr.ts';
import {
  NF_ACCEPT,
  NF_DROP,
  NFT_BREAK,
  NFT_CONTINUE,
  NFT_GOTO,
  NFT_JUMP,
  NFT_RETURN,
  NFTA_DATA_VALUE,
  NFTA_DATA_VERDICT,
  NFTA_VERDICT_CHAIN,
  NFTA_VERDICT_CODE,
} from './constants.ts';

/** What becomes of a packet. */
export type Verdict =
  | { readonly kind: 'accept' | 'drop' | 'continue' | 'break' | 'return' }
  | { readonly kind: 'jump' | 'goto'; readonly chain: string };

const CODES: Record<Verdict['kind'], number> = {
  accept: NF_ACCEPT,
  drop: NF_DROP,
  continue: NFT_CONTINUE,
  break: NFT_BREAK,
  jump: NFT_JUMP,
  goto: NFT_GOTO,
  return: NFT_RETURN,
};

const KINDS = new Map(Object.entries(CODES).map(([kind, code]) => [code, kind as Verdict['kind']]));

/** The number the kernel knows a verdict by. */
export function verdictCode(verdict: Verdict): number {
  return CODES[verdict.kind];
}

/** Bytes within an attribute of the given type. */
export function valueAttr(type: number, value: Uint8Array): Attr {
  return attr.nested(type, [attr.bytes(NFTA_DATA_VALUE, value)]);
}

/** A verdict within an attribute of the given type. */
export function verdictAttr(type: number, verdict: Verdict): Attr {
  const code = attr.u32be(NFTA_VERDICT_CODE, verdictCode(verdict) >>> 0);
  const chain = 'chain' in verdict ? [attr.string(NFTA_VERDICT_CHAIN, verdict.chain)] : [];
  return attr.nested(type, [attr.nested(NFTA_DATA_VERDICT, [code, ...chain])]);
}

/** The bytes in a data attribute; undefined when it holds a verdict. */
export function decodeValue(data: Attributes | undefined): Uint8Array | undefined {
  return data?.bytes(NFTA_DATA_VALUE)?.slice();
}

/** The verdict in a data attribute; undefined when it holds bytes. */
export function decodeVerdict(data: Attributes | undefined): Verdict | undefined {
  const verdict = data?.nested(NFTA_DATA_VERDICT);
  if (verdict === undefined) return undefined;
  const code = required(verdict.u32be(NFTA_VERDICT_CODE), 'verdict code') | 0;
  const kind = KINDS.get(code);
  if (kind === undefined) throw new DecodeError(`unknown verdict ${code}`);
  if (kind !== 'jump' && kind !== 'goto') return { kind };
  return { kind, chain: required(verdict.string(NFTA_VERDICT_CHAIN), 'verdict chain') };
}

/** As nft prints it, such as `goto -> services`. */
export function formatVerdict(verdict: Verdict): string {
  return 'chain' in verdict ? `${verdict.kind} -> ${verdict.chain}` : verdict.kind;
}

/** As nft prints data: words of four bytes in the order of the machine. */
export function formatData(bytes: Uint8Array): string {
  const words: string[] = [];
  for (let at = 0; at < bytes.length; at += 4) {
    const word = [...bytes.subarray(at, at + 4)].toReversed();
    words.push(
      `0x${word
        .map((byte) => byte.toString(16).padStart(2, '0'))
        .join('')
        .padStart(8, '0')}`,
    );
  }
  return words.join(' ');
}
