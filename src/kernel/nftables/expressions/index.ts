/** Expressions: the steps of a rule, as data with a `kind`. */
import {
  attr,
  decodeAttrs,
  DecodeError,
  required,
  type Attr,
  type Attributes,
  encodeAttrs,
} from '../../netlink/attr.ts';
import { NFTA_EXPR_DATA, NFTA_EXPR_NAME, NFTA_LIST_ELEM } from '../constants.ts';
import { bitwise, type Bitwise } from './bitwise.ts';
import { byteorder, type ByteOrder } from './byteorder.ts';
import { cmp, type Cmp } from './cmp.ts';
import type { Codec } from './codec.ts';
import { counter, type Counter } from './counter.ts';
import { ct, type Ct } from './ct.ts';
import { dynset, type Dynset } from './dynset.ts';
import { fib, type Fib } from './fib.ts';
import { hash, type Hash } from './hash.ts';
import { immediate, type Immediate, type VerdictExpression } from './immediate.ts';
import { limit, type Limit } from './limit.ts';
import { log, type Log } from './log.ts';
import { lookup, type Lookup } from './lookup.ts';
import { meta, type Meta } from './meta.ts';
import { masq, nat, redir, type Masq, type Nat, type Redir } from './nat.ts';
import { numgen, type Numgen } from './numgen.ts';
import { payload, type Payload } from './payload.ts';
import { quota, type Quota } from './quota.ts';
import { range, type Range } from './range.ts';
import { reject, type Reject } from './reject.ts';
import { socket, type Socket } from './socket.ts';

/** An expression this library has no words for, kept as it came. */
export type Unknown = {
  readonly kind: 'unknown';
  readonly name: string;
  readonly data: Uint8Array;
};

export type Expression =
  | Bitwise
  | ByteOrder
  | Cmp
  | Counter
  | Ct
  | Dynset
  | Fib
  | Hash
  | Immediate
  | Limit
  | Log
  | Lookup
  | Masq
  | Meta
  | Nat
  | Numgen
  | Payload
  | Quota
  | Range
  | Redir
  | Reject
  | Socket
  | VerdictExpression
  | Unknown;

type Known = Exclude<Expression, Unknown>;

/** By `kind`; every entry takes its own kind only, which the union guarantees. */
const CODECS = {
  bitwise,
  byteorder,
  cmp,
  counter,
  ct,
  dynset,
  fib,
  hash,
  immediate,
  limit,
  log,
  lookup,
  masq,
  meta,
  nat,
  numgen,
  payload,
  quota,
  range,
  redir,
  reject,
  socket,
  verdict: immediate,
} as unknown as Record<Known['kind'], Codec<Known>>;

const BY_NAME = new Map(Object.values(CODECS).map((codec) => [codec.name, codec]));

/** One expression as an attribute. */
export function expressionAttr(expression: Expression): Attr {
  if (expression.kind === 'unknown') {
    return attr.nested(NFTA_LIST_ELEM, [
      attr.string(NFTA_EXPR_NAME, expression.name),
      attr.bytes(NFTA_EXPR_DATA | 0x8000, expression.data),
    ]);
  }
  const codec = CODECS[expression.kind];
  return attr.nested(NFTA_LIST_ELEM, [
    attr.string(NFTA_EXPR_NAME, codec.name),
    attr.nested(NFTA_EXPR_DATA, codec.encode(expression)),
  ]);
}

/** Expressions one after the other, as they stand in a rule. */
export function encodeExpressions(expressions: readonly Expression[]): Uint8Array {
  return encodeAttrs(expressions.map(expressionAttr));
}

/** Reads the expressions of a rule. Throws `DecodeError`. */
export function decodeExpressions(list: Attributes): Expression[] {
  return list.all(NFTA_LIST_ELEM).map((bytes) => decodeExpression(decodeAttrs(bytes)));
}

function decodeExpression(attrs: Attributes): Expression {
  const name = required(attrs.string(NFTA_EXPR_NAME), 'name of the expression');
  const codec = BY_NAME.get(name);
  const data = attrs.bytes(NFTA_EXPR_DATA) ?? new Uint8Array();
  try {
    if (codec !== undefined) return codec.decode(decodeAttrs(data));
  } catch (error) {
    // Someone else's rule may use what came after this library, such as a new key.
    if (!(error instanceof DecodeError)) throw error;
  }
  return { kind: 'unknown', name, data: data.slice() };
}

/** The line that `nft --debug=netlink` prints, without its brackets. */
export function formatExpression(expression: Expression): string {
  if (expression.kind === 'unknown') return expression.name;
  return CODECS[expression.kind].format(expression);
}

/** Whether two lists do the same; what has been counted does not matter. */
export function sameExpressions(a: readonly Expression[], b: readonly Expression[]): boolean {
  if (a.length !== b.length) return false;
  const left = encodeExpressions(a.map(canonical));
  const right = encodeExpressions(b.map(canonical));
  return Buffer.compare(left, right) === 0;
}

/** Without what the kernel counts, and with what it fills in. */
function canonical(expression: Expression): Expression {
  switch (expression.kind) {
    case 'counter':
      return { kind: 'counter' };
    case 'quota': {
      const { consumed: _, ...quota } = expression;
      return quota;
    }
    case 'log':
      return expression.group === undefined ? { level: LOG_LEVEL, ...expression } : expression;
    default:
      return expression;
  }
}

/** `LOGLEVEL_WARNING`, which the kernel takes when a rule names none. */
const LOG_LEVEL = 4;
