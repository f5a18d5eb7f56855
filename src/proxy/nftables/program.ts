/**
 * One IP family's share of the plan as elements of our sets and maps. Services are set one by one;
 * what follows for the kernel gathers in mirrors until `take`. Nothing here talks to the kernel.
 */
import type { Protocol } from '../../api/types.ts';
import { familyOf, type IpFamily } from '../../lib/ip.ts';
import { ClaimTable } from '../../plan/claims.ts';
import {
  frontendKey,
  targetKey,
  type Clash,
  type PlannedFrontend,
  type PortPlan,
  type ServicePlan,
} from '../../plan/types.ts';
import { ClassTable } from './class-table.ts';
import { chainsFor, classesFor, classWord, NO_CLASS, type Class } from './classes.ts';
import { TextTable, WordTable, type ElementTable } from './element-tables.ts';
import { Mirror } from './mirror.ts';
import { Pools } from './pools.ts';
import { PortIds } from './port-ids.ts';
import { POD_RANGES, Ranges, SERVICE_RANGES } from './ranges.ts';
import { RefCounts } from './ref-counts.ts';
import { addressWord, frontendWord, numberWord, portWord, protocolWord } from './words.ts';

/** Our sets and maps, but for `affinity`, which only the kernel writes. */
export const SET_NAMES = [
  'endpoints',
  'sticky',
  'hairpin',
  'ranges',
  'classes',
  'restricted',
  'frontends',
  'rejected',
  'dropped',
  'cluster-ips',
  'node-ports',
] as const;
export type SetName = (typeof SET_NAMES)[number];

/** What the kernel holds: elements per set, and the class chains whose rules are sound. */
export type KernelState = {
  readonly elements: ReadonlyMap<SetName, ElementTable>;
  readonly chains: ReadonlySet<string>;
};

/** What a commit shall change, taken from a program. */
export type ProgramChanges = {
  readonly addChains: readonly Class[];
  readonly deleteChains: readonly string[];
  readonly sets: readonly Mirror[];
  /** Elements to add, delete or replace. */
  readonly elementCount: number;
};

/** A word that no rule reads. */
const NOTHING = numberWord(0);

export class FamilyProgram {
  readonly family: IpFamily;
  readonly #mirrors: Readonly<Record<SetName, Mirror>>;
  readonly #claims = new ClaimTable();
  readonly #plans = new Map<string, ServicePlan>();
  readonly #ports = new Map<string, PortPlan>();
  readonly #ids = new PortIds();
  readonly #pools: Pools;
  readonly #ranges: Ranges;
  readonly #classes: ClassTable;
  readonly #hairpins = new RefCounts();
  readonly #clusterIPs = new RefCounts();
  readonly #nodePorts = new RefCounts();

  /** `random` gives whole numbers below 2^32. */
  constructor(family: IpFamily, random: () => number) {
    this.family = family;
    const mirrors = SET_NAMES.map((name) => [name, new Mirror(name, newTable(name))] as const);
    this.#mirrors = Object.fromEntries(mirrors) as Record<SetName, Mirror>;
    this.#pools = new Pools(this.#mirrors, random);
    this.#ranges = new Ranges(family, this.#mirrors.ranges);
    this.#classes = new ClassTable(this.#mirrors.classes);
  }

  /** Elements the kernel holds, as far as we know. */
  get elementCount(): number {
    return SET_NAMES.reduce((sum, name) => sum + this.#mirrors[name].size, 0);
  }

  /** Elements that a commit would write now. */
  get pendingCount(): number {
    return SET_NAMES.reduce((sum, name) => sum + this.#mirrors[name].pendingCount, 0);
  }

  /** The frontend that answers under this key. */
  winner(key: string): PlannedFrontend | undefined {
    return this.#claims.winner(key);
  }

  /** The last plan of a Service, as far as it concerns this family. */
  plan(service: string): ServicePlan | undefined {
    return this.#plans.get(service);
  }

  /** Every claim that lost to another Service. */
  clashes(): Clash[] {
    return this.#claims.clashes();
  }

  port(id: string): PortPlan | undefined {
    return this.#ports.get(id);
  }

  /** Every frontend that is served. */
  frontends(): Map<string, PlannedFrontend> {
    return this.#claims.frontends();
  }

  /** Starts over from what the kernel holds, keeping every Service; `sweep` ends it. */
  adopt(state: KernelState): void {
    for (const name of SET_NAMES) {
      this.#mirrors[name].adopt(state.elements.get(name) ?? newTable(name));
    }
    this.#classes.adopt(state.elements.get('classes')?.entries() ?? [], state.chains);
    this.#ranges.repeat();
    for (const plan of this.#plans.values()) this.#repeat(plan);
    for (const word of this.#hairpins.keys()) this.#mirrors.hairpin.set(word + word);
    for (const word of this.#clusterIPs.keys()) this.#mirrors['cluster-ips'].set(word);
    for (const word of this.#nodePorts.keys()) this.#mirrors['node-ports'].set(word);
  }

  /** Deletes what the kernel holds and no Service asked for. */
  sweep(): void {
    this.#classes.sweep();
    for (const name of SET_NAMES) this.#mirrors[name].sweep();
  }

  /**
   * Puts one Service's plan in the place of its last one; returns the UDP frontends whose endpoints
   * changed, appeared or vanished (P100).
   */
  setService(service: string, plan: ServicePlan | undefined): string[] {
    const mine = plan === undefined ? undefined : this.#familyPart(plan);
    const old = this.#plans.get(service);
    const touched = this.#claims.set(service, mine);
    if (mine === undefined) this.#plans.delete(service);
    else this.#plans.set(service, mine);
    this.#countShared(mine, 1);
    this.#countShared(old, -1);
    const kept = new Set(mine?.ports.map((port) => port.id));
    for (const port of old?.ports ?? []) if (!kept.has(port.id)) this.#removePort(port);
    for (const port of mine?.ports ?? []) this.#setPort(port);
    for (const key of touched) this.#setFrontend(key);
    this.#classes.dropIdle();
    return touched.filter(
      (key) => key.includes(' UDP ') && flowsOf(old, key) !== flowsOf(mine, key),
    );
  }

  /** Replaces the pod ranges and the Service ranges. */
  setRanges(ranges: { podCidrs: readonly string[]; serviceCidrs: readonly string[] }): void {
    this.#ranges.set(POD_RANGES, ranges.podCidrs);
    this.#ranges.set(SERVICE_RANGES, ranges.serviceCidrs);
  }

  /** What differs from the kernel; call `confirm` once it has been committed. */
  take(): ProgramChanges {
    const sets = SET_NAMES.map((name) => this.#mirrors[name]).filter((m) => m.pendingCount > 0);
    return {
      addChains: this.#classes.addChains,
      deleteChains: this.#classes.deleteChains,
      sets,
      elementCount: sets.reduce((sum, mirror) => sum + mirror.pendingCount, 0),
    };
  }

  /** The kernel has taken the changes. */
  confirm(changes: ProgramChanges): void {
    for (const mirror of changes.sets) mirror.confirm();
    this.#classes.confirm(changes);
  }

  #familyPart(plan: ServicePlan): ServicePlan | undefined {
    const ports = plan.ports.filter((port) => port.family === this.family);
    const clusterIPs = plan.clusterIPs.filter((address) => familyOf(address) === this.family);
    return ports.length === 0 ? undefined : { ...plan, ports, clusterIPs };
  }

  #repeat(plan: ServicePlan): void {
    for (const port of plan.ports) {
      this.#setPort(port);
      for (const frontend of port.frontends) this.#setFrontend(frontendKey(frontend));
    }
  }

  #setPort(port: PortPlan): void {
    const number = this.#ids.idOf(port.id);
    this.#ports.set(port.id, port);
    this.#pools.set(number, port);
    this.#ranges.set(
      number,
      port.frontends.flatMap((frontend) => frontend.sources ?? []),
    );
  }

  #removePort(port: PortPlan): void {
    const number = this.#ids.idOf(port.id);
    this.#pools.clear(number);
    this.#ranges.set(number, []);
    this.#ports.delete(port.id);
    this.#ids.release(port.id);
  }

  /** Writes what a packet to the key meets, for whoever has it. */
  #setFrontend(key: string): void {
    const { frontends, rejected, dropped, restricted } = this.#mirrors;
    const frontend = this.#claims.winner(key);
    const port = frontend && this.#ports.get(frontend.portId);
    if (frontend === undefined || port === undefined) {
      const word = wordOfKey(key);
      for (const mirror of [frontends, rejected, dropped, restricted]) mirror.delete(word);
      this.#classes.use(key, []);
      return;
    }
    const word = frontendWord(frontend);
    const number = this.#ids.idOf(port.id);
    const id = numberWord(number);
    const classes = classesFor(frontend, port, number);
    const [enter = NO_CLASS, , others = NO_CLASS] = classes.map(classWord);
    const data = NOTHING + enter + others.slice(0, 8) + id;
    const none = port.cluster.length === 0 && port.local.length === 0;
    const noLocal = !none && frontend.pool !== 'cluster' && port.local.length === 0;
    const leads = enter !== NO_CLASS;
    setOrDelete(frontends, word, leads ? data : undefined);
    setOrDelete(rejected, word, none ? '' : undefined);
    setOrDelete(dropped, word, noLocal ? '' : undefined);
    setOrDelete(restricted, word, frontend.sources === undefined ? undefined : NOTHING + id);
    this.#classes.use(key, leads ? chainsFor(classes) : []);
  }

  /** Cluster IPs and local endpoint addresses: several ports or Services may name the same one. */
  #countShared(plan: ServicePlan | undefined, step: 1 | -1): void {
    const { hairpin, 'cluster-ips': clusterIPs } = this.#mirrors;
    const count = (counts: RefCounts, word: string) =>
      step === 1 ? counts.add(word) : counts.remove(word);
    for (const word of plan?.clusterIPs.map(addressWord) ?? []) {
      count(this.#clusterIPs, word);
      setOrDelete(clusterIPs, word, this.#clusterIPs.has(word) ? '' : undefined);
    }
    for (const port of plan?.ports ?? []) {
      if (port.nodePort !== undefined) {
        const word = protocolWord(port.protocol) + portWord(port.nodePort);
        count(this.#nodePorts, word);
        setOrDelete(this.#mirrors['node-ports'], word, this.#nodePorts.has(word) ? '' : undefined);
      }
      for (const target of [...port.cluster, ...port.local]) {
        if (!target.local) continue;
        const word = addressWord(target.address);
        count(this.#hairpins, word);
        setOrDelete(hairpin, word + word, this.#hairpins.has(word) ? '' : undefined);
      }
    }
  }
}

/** What a set of this name holds when it is empty. */
export function newTable(name: SetName): ElementTable {
  return name === 'classes' ? new TextTable() : new WordTable();
}

/** Who answers to a frontend's flows, policies aside (P103). */
function flowsOf(plan: ServicePlan | undefined, key: string): string | undefined {
  const port = plan?.ports.find((one) => one.frontends.some((f) => frontendKey(f) === key));
  return port?.serving.map(targetKey).join();
}

function setOrDelete(mirror: Mirror, key: string, data: string | undefined): void {
  if (data === undefined) mirror.delete(key);
  else mirror.set(key, data);
}

function wordOfKey(key: string): string {
  const [address = '', protocol, port] = key.split(' ');
  return frontendWord({ address, protocol: protocol as Protocol, port: Number(port) });
}
