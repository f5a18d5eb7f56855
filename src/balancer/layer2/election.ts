/**
 * Which node answers for an address: the one whose name stands in the address's Lease and who renews
 * it. Pure. Times of other machines are never compared: what counts is how long ago, by our own
 * clock, the Lease was seen to change (as client-go's leader election does).
 */
import type { Lease } from '../../api/types.ts';

/** A holder not heard of for this long has lost the address. */
export const leaseSeconds = 3;
/** A third of that, so that one lost request does no harm. */
export const renewMs = 1000;
/** Candidates write within this time, each at its own moment, so that they seldom collide. */
export const spreadMs = 300;

export type Situation = {
  readonly node: string;
  /** Whether this node may answer: policy Local needs a pod here, say. */
  readonly fit: boolean;
  readonly lease: Lease | undefined;
  /** How long ago the Lease was seen to change. */
  readonly quietMs: number;
  /** How long ago this node wrote it last; undefined when it has not. */
  readonly sinceRenewMs: number | undefined;
};

export type Move =
  /** Answers, and writes the Lease when that is due. */
  | { readonly kind: 'hold'; readonly renew: boolean }
  /** Nobody holds it: this node tries to. */
  | { readonly kind: 'take' }
  /** Another node answers; to be looked at again after that time. */
  | { readonly kind: 'wait'; readonly afterMs: number }
  /** This node holds it and may not: it lets go at once, so that nobody need wait. */
  | { readonly kind: 'give up' }
  | { readonly kind: 'rest' };

/** What the node does now. */
export function decide({ node, fit, lease, quietMs, sinceRenewMs }: Situation): Move {
  const holder = lease?.spec?.holderIdentity ?? '';
  if (!fit) return { kind: holder === node ? 'give up' : 'rest' };
  if (holder === node) {
    return { kind: 'hold', renew: sinceRenewMs === undefined || sinceRenewMs >= renewMs };
  }
  if (holder === '') return { kind: 'take' };
  const seconds = lease?.spec?.leaseDurationSeconds ?? leaseSeconds;
  const leftMs = seconds * 1000 - quietMs;
  return leftMs <= 0 ? { kind: 'take' } : { kind: 'wait', afterMs: leftMs };
}

/** When this node tries, after the others could; the same for a node and an address always. */
export function turnMs(node: string, address: string): number {
  let hash = 0;
  for (const letter of `${node} ${address}`) {
    hash = (Math.imul(hash, 31) + letter.codePointAt(0)!) >>> 0;
  }
  return hash % spreadMs;
}

/** The name of an address's Lease: letters, digits and dashes only. */
export function leaseName(address: string): string {
  return `fairlead-address-${address.replaceAll(/[.:]/g, '-')}`.replace(/-$/, '-0');
}
