/** Our table of one family: a program of elements on one side, the kernel on the other. */
import {
  addElements,
  deleteChain,
  deleteElements,
  flushChain,
  type Element,
  type NftConnection,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import type { IpFamily } from '../../lib/ip.ts';
import { chainName } from './classes.ts';
import { createChainWithRules, inspect, tableOf } from './layout.ts';
import type { ElementTable } from './element-tables.ts';
import type { Mirror } from './mirror.ts';
import {
  FamilyProgram,
  newTable,
  SET_NAMES,
  type ProgramChanges,
  type SetName,
} from './program.ts';
import { classRules, type RuleContext } from './rules.ts';

export class FamilyTable {
  readonly family: IpFamily;
  readonly program: FamilyProgram;
  readonly #context: RuleContext;
  /** Messages that mend what we found, sent with the first commit. */
  #repairs: Transaction = [];

  constructor(context: RuleContext, random: () => number) {
    this.#context = context;
    this.family = context.family;
    this.program = new FamilyProgram(context.family, random);
  }

  /** Reads what the kernel holds; what differs will be written by commits. */
  open(connection: NftConnection): void {
    const found = inspect(connection, this.#context);
    this.#repairs = found.repairs;
    const elements = new Map<SetName, ElementTable>();
    if (!found.isNew) {
      for (const name of SET_NAMES) elements.set(name, this.#read(connection, name));
    }
    this.program.adopt({ elements, chains: found.classChains });
  }

  /** Elements and chains that a commit would write now. */
  get pendingCount(): number {
    return this.program.pendingCount;
  }

  /** Writes what differs in one transaction; returns how much that was. */
  commit(connection: NftConnection): number {
    const changes = this.program.take();
    const transaction = [...this.#repairs, ...this.#messages(changes)];
    if (transaction.length === 0) return 0;
    connection.apply(transaction, { tried: `program the Service rules of ${this.family}` });
    this.program.confirm(changes);
    const writes =
      this.#repairs.length +
      changes.elementCount +
      changes.addChains.length +
      changes.deleteChains.length;
    this.#repairs = [];
    return writes;
  }

  /** New chains before the elements that lead there, old ones after. */
  #messages(changes: ProgramChanges): Transaction {
    const { family } = this;
    const of = tableOf(family);
    return [
      ...changes.addChains.flatMap((one) =>
        createChainWithRules(family, chainName(one), classRules(this.#context, one)),
      ),
      ...changes.sets.flatMap((mirror) => this.#elementMessages(mirror)),
      // Some lead to others, until they are empty.
      ...changes.deleteChains.map((name) => flushChain({ ...of, chain: name })),
      ...changes.deleteChains.map((name) => deleteChain({ ...of, name })),
    ];
  }

  /** An element whose data change is deleted and added again, which nobody sees in between. */
  #elementMessages(mirror: Mirror): Transaction {
    const set = { ...tableOf(this.family), set: mirror.name };
    const name = mirror.name as SetName;
    const gone: Element[] = [];
    const come: Element[] = [];
    for (const { key, before, after } of mirror.changes()) {
      if (before !== undefined) gone.push(elementOf(name, key, ''));
      if (after !== undefined) come.push(elementOf(name, key, after));
    }
    return [...deleteElements(set, gone), ...addElements(set, come)];
  }

  /** Element by element: all of them as objects would take hundreds of megabytes. */
  #read(connection: NftConnection, name: SetName): ElementTable {
    let table = newTable(name);
    connection.readElements({ ...tableOf(this.family), set: name }, () => {
      table = newTable(name);
      return (element) => table.set(keyOf(element), dataOf(element));
    });
    return table;
  }
}

function elementOf(set: SetName, key: string, data: string): Element {
  if (set === 'ranges') {
    const middle = key.length / 2;
    return {
      key: Uint8Array.fromHex(key.slice(0, middle)),
      keyEnd: Uint8Array.fromHex(key.slice(middle)),
    };
  }
  const bytes = Uint8Array.fromHex(key);
  if (data === '') return { key: bytes };
  return set === 'classes'
    ? { key: bytes, verdict: { kind: 'goto', chain: data } }
    : { key: bytes, data: Uint8Array.fromHex(data) };
}

function keyOf(element: Element): string {
  return element.key.toHex() + (element.keyEnd?.toHex() ?? '');
}

function dataOf({ verdict, data }: Element): string {
  if (verdict !== undefined) return 'chain' in verdict ? verdict.chain : verdict.kind;
  return data?.toHex() ?? '';
}
