/** nf_tables over netlink: objects as data, messages that change them, and a connection. */
export {
  addChain,
  createChain,
  deleteChain,
  destroyChain,
  decodeChain,
  PRIORITY,
} from './chains.ts';
export type { BaseChain, Chain, ChainRef, Hook } from './chains.ts';
export { NftConnection } from './connection.ts';
export type { ApplyOptions, Traffic, Transaction } from './connection.ts';
export type { Verdict } from './data.ts';
export {
  addElements,
  createElements,
  decodeElements,
  deleteElements,
  destroyElements,
  flushSet,
} from './elements.ts';
export type { Element, ElementsOf, HexElement } from './elements.ts';
export { CT_STATE, CT_STATUS } from './expressions/ct.ts';
export { FIB_TYPE } from './expressions/fib.ts';
export { formatExpression, sameExpressions } from './expressions/index.ts';
export type { Expression } from './expressions/index.ts';
export { registerAt } from './expressions/registers.ts';
export type { Register } from './expressions/registers.ts';
export { ICMPX } from './expressions/reject.ts';
export type { Family } from './family.ts';
export type { Generation } from './generation.ts';
export { encodeKey, keyBytes, splitKey } from './key-types.ts';
export type { KeyPart, KeyType } from './key-types.ts';
export { monitorRuleset } from './monitor.ts';
export type { RulesetEvent, RulesetObject } from './monitor.ts';
export {
  addRule,
  decodeRule,
  deleteRule,
  flushChain,
  flushTable,
  insertRule,
  replaceRule,
} from './rules.ts';
export type { Rule } from './rules.ts';
export { addSet, createSet, decodeSet, deleteSet, destroySet } from './sets.ts';
export type { NftSet, SetFlag, SetRef } from './sets.ts';
export { addTable, createTable, decodeTable, deleteTable, destroyTable } from './tables.ts';
export type { Table, TableRef } from './tables.ts';
