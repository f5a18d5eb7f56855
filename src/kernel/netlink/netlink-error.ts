/** What the kernel answers when it refuses a netlink request. */
import { WorldError } from '../../lib/errors.ts';
import { nameOfErrno } from '../ffi/libc.ts';
import type { Acknowledgement } from './message.ts';

export type Refusal = {
  readonly errno: number;
  readonly errnoName: string;
  /** The kernel's own words (extended ack), when it has any. */
  readonly text: string | undefined;
  /** Where in the message the offending attribute begins, counted from the message's header. */
  readonly offset: number | undefined;
  /** The type of an attribute that should have been there. */
  readonly missingType: number | undefined;
  /** Which message of a batch, from 0; undefined when the batch as a whole was refused. */
  readonly index: number | undefined;
};

/** The kernel refused a request; `refusals` has more than one entry only for a batch. */
export class NetlinkError extends WorldError {
  override name = 'NetlinkError';
  readonly errno: number;
  readonly errnoName: string;
  readonly text: string | undefined;
  readonly offset: number | undefined;
  readonly index: number | undefined;
  readonly refusals: readonly Refusal[];

  /** `tried` completes "Cannot …", such as `create table "fairlead"`. */
  constructor(tried: string, refusals: readonly [Refusal, ...Refusal[]]) {
    const [first] = refusals;
    super('NETLINK', `Cannot ${tried}: the kernel answered ${describe(first)}`);
    this.errno = first.errno;
    this.errnoName = first.errnoName;
    this.text = first.text;
    this.offset = first.offset;
    this.index = first.index;
    this.refusals = refusals;
  }
}

/** A refusal from an acknowledgement that carries an error. */
export function refusalOf(ack: Acknowledgement, index?: number): Refusal {
  const { errno, text, offset, missingType } = ack;
  return { errno, errnoName: nameOfErrno(errno), text, offset, missingType, index };
}

function describe(refusal: Refusal): string {
  const text = refusal.text === undefined ? '' : `, "${refusal.text}"`;
  const message = refusal.index === undefined ? 'the message' : `message ${refusal.index}`;
  const where = refusal.offset === undefined ? '' : `, at byte ${refusal.offset} of ${message}`;
  const missing =
    refusal.missingType === undefined ? '' : `, attribute ${refusal.missingType} is missing`;
  return `${refusal.errnoName}${text}${where}${missing}`;
}
