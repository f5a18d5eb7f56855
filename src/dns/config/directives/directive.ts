/** What a directive's reader is given. */
import type { Name } from '../../wire/name.ts';
import type { Line } from '../parse.ts';
import type { Token } from '../tokens.ts';
import { zonesOf } from '../arguments.ts';

export type Context = {
  /** The zones of the block, folded: what a directive without zones is about. */
  readonly zones: readonly Name[];
  /** All addresses: `::`, or `0.0.0.0` where the kernel has no IPv6. */
  readonly anyHost: string;
  /** Something that is allowed and yet hardly meant, or has no effect here. */
  readonly warn: (text: string) => void;
};

/** Reads every line of one directive in a block. */
export type DirectiveReader<T> = (lines: readonly Line[], context: Context) => T;

/** The zones named, or else those of the block. */
export function zonesOrBlock(tokens: readonly Token[], { zones }: Context): readonly Name[] {
  return tokens.length === 0 ? zones : tokens.flatMap(zonesOf);
}
