/** Our table of one family: a program of elements on one side, the kernel on the other. */
import {
  addElements,
  deleteChain,
  deleteElements,
  flushChain,
  type Element,
  type HexElement,
  type NftConnection,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import { NetlinkError } from '../../kernel/netlink/netlink-error.ts';
import type { IpFamily } from '../../lib/ip.ts';
import type { ServicePlan } from '../../plan/types.ts';
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
import { missingFeatures, notSupported } from './requirements.ts';
import type { RuleContext } from './rule-parts.ts';
import { classRules } from './rules.ts';

/** A Service whose change the kernel refuses, and what it answered. */
export type RefusedService = { readonly service: string; readonly error: unknown };

type Change = {
  readonly service: string;
  readonly before: ServicePlan | undefined;
  readonly after: ServicePlan | undefined;
};

/** A chain that is in use cannot be deleted (P126). */
const ERRNO_EBUSY = 16;
const CHAIN_PAUSE_MS = 1000;

export class FamilyTable {
  readonly family: IpFamily;
  readonly program: FamilyProgram;
  readonly #context: RuleContext;
  /** Messages that mend what we found, sent with the first commit. */
  #repairs: Transaction = [];
  /** The first commit makes the table. */
  #isNew = false;
  /** What the kernel has of the Services that changed since the last commit. */
  readonly #before = new Map<string, ServicePlan | undefined>();
  /** Chains that are still in use are not asked to go before this, on the monotonic clock. */
  #chainsNotBeforeMs = 0;
  #cleanupFailed = false;

  constructor(context: RuleContext, random: () => number) {
    this.#context = context;
    this.family = context.family;
    this.program = new FamilyProgram(context.family, random);
  }

  /** Reads what the kernel holds; what differs will be written by commits. */
  open(connection: NftConnection): void {
    const found = inspect(connection, this.#context);
    this.#repairs = found.repairs;
    this.#isNew = found.isNew;
    const elements = new Map<SetName, ElementTable>();
    if (!found.isNew) {
      for (const name of SET_NAMES) elements.set(name, this.#read(connection, name));
    }
    this.program.adopt({ elements, chains: found.classChains });
  }

  /** Whether chains that nobody needs could not be deleted since the last time this was asked. */
  takeCleanupFailed(): boolean {
    const failed = this.#cleanupFailed;
    this.#cleanupFailed = false;
    return failed;
  }

  /** Elements and chains that a commit would write now. */
  get pendingCount(): number {
    return this.program.pendingCount;
  }

  /** Puts one Service's plan in the place of its last one, as the program does. */
  setService(service: string, plan: ServicePlan | undefined): string[] {
    if (!this.#before.has(service)) this.#before.set(service, this.program.plan(service));
    return this.program.setService(service, plan);
  }

  /** Writes what differs in one transaction; returns how much that was. */
  commit(connection: NftConnection): number {
    const writes = this.#write(connection);
    this.#before.clear();
    return writes;
  }

  /**
   * Writes what differs when the kernel has refused it as a whole: Services that changed are left
   * out by halves, until those are found that it refuses. They keep the rules they had. Throws
   * when it is none of them.
   */
  commitByHalves(connection: NftConnection): { writes: number; refused: RefusedService[] } {
    const suspects = this.#withdrawChanges();
    const refused: RefusedService[] = [];
    let writes = this.#writeWithout(suspects, connection);
    const attempt = (changes: readonly Change[]) => {
      for (const { service, after } of changes) this.program.setService(service, after);
      try {
        writes += this.#write(connection);
      } catch (error) {
        for (const { service, before } of changes) this.program.setService(service, before);
        const [first] = changes;
        if (changes.length === 1 && first) {
          refused.push({ service: first.service, error });
          return;
        }
        const middle = changes.length >> 1;
        attempt(changes.slice(0, middle));
        attempt(changes.slice(middle));
      }
    };
    if (suspects.length > 0) attempt(suspects);
    this.#before.clear();
    return { writes, refused };
  }

  /** Writes what is left without them. If that is refused, they wait with it for the next try. */
  #writeWithout(suspects: readonly Change[], connection: NftConnection): number {
    try {
      return this.#write(connection);
    } catch (error) {
      for (const { service, after } of suspects) this.program.setService(service, after);
      throw error;
    }
  }

  /** Takes back every change that leaves less to write without it. */
  #withdrawChanges(): Change[] {
    const suspects: Change[] = [];
    for (const [service, before] of this.#before) {
      const after = this.program.plan(service);
      const pending = this.program.pendingCount;
      this.program.setService(service, before);
      if (this.program.pendingCount < pending) suspects.push({ service, before, after });
      else this.program.setService(service, after);
    }
    return suspects;
  }

  #write(connection: NftConnection): number {
    const all = this.program.take();
    const mayDelete = performance.now() >= this.#chainsNotBeforeMs;
    const changes = mayDelete ? all : { ...all, deleteChains: [] };
    try {
      return this.#send(connection, changes);
    } catch (error) {
      const busy = error instanceof NetlinkError && error.errno === ERRNO_EBUSY;
      if (!busy || changes.deleteChains.length === 0) throw error;
      // Kernels before 6.2 notice only after a commit that nothing leads to a chain any more.
      this.#chainsNotBeforeMs = performance.now() + CHAIN_PAUSE_MS;
      this.#cleanupFailed = true;
      return this.#send(connection, { ...changes, deleteChains: [] });
    }
  }

  #send(connection: NftConnection, changes: ProgramChanges): number {
    const transaction = [...this.#repairs, ...this.#messages(changes)];
    if (transaction.length === 0) return 0;
    try {
      connection.apply(transaction, { tried: `program the Service rules of ${this.family}` });
    } catch (error) {
      const missing = this.#isNew ? missingFeatures(connection, this.family) : [];
      throw notSupported(missing) ?? error;
    }
    this.#isNew = false;
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
    const gone: HexElement[] = [];
    const come: HexElement[] = [];
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

function elementOf(set: SetName, key: string, data: string): HexElement {
  if (set === 'ranges') {
    const middle = key.length / 2;
    return { key: key.slice(0, middle), keyEnd: key.slice(middle) };
  }
  if (data === '') return { key };
  return set === 'classes' ? { key, verdict: { kind: 'goto', chain: data } } : { key, data };
}

function keyOf(element: Element): string {
  return element.key.toHex() + (element.keyEnd?.toHex() ?? '');
}

function dataOf({ verdict, data }: Element): string {
  if (verdict !== undefined) return 'chain' in verdict ? verdict.chain : verdict.kind;
  return data?.toHex() ?? '';
}
