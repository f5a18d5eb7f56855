/**
 * One IP family's share of the plan as elements of our sets and maps. Services are set one by one;
 * what follows for the kernel gathers in mirrors until `take`. Nothing here talks to the kernel.
 */
import { familyOf, parseCidr, type IpFamily } from '../../lib/ip.ts';
import { ClaimTable } from '../../plan/claims.ts';
import {
  frontendKey,
  type PlannedFrontend,
  type PortPlan,
  type ServicePlan,
  type Target,
} from '../../plan/types.ts';
import {
  chainName,
  classWord,
  entryOf,
  LOCAL_SLOTS,
  NO_CLASS,
  parseChainName,
  type Class,
  type Pool,
} from './classes.ts';
import { PortIds } from './port-ids.ts';
import { Mirror } from './mirror.ts';
import { RefCounts } from './ref-counts.ts';
import { assignSlots } from './slots.ts';
import { addressWord, frontendWord, numberWord, portWord } from './words.ts';

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
] as const;
export type SetName = (typeof SET_NAMES)[number];

/** Whose ranges an element of `ranges` belongs to; Service ports have ids from 16 on. */
export const POD_RANGES = 1;
export const SERVICE_RANGES = 2;

/** Chains of classes nobody uses any more are kept up to this many: counts tend to come back. */
const IDLE_CHAINS_MAX = 64;

/** The chain that class `source` leads to, whatever its count. */
export const SOURCE_CHAIN = 'by-source';

/** What the kernel holds: elements per set, and the class chains whose rules are sound. */
export type KernelState = {
  readonly elements: ReadonlyMap<SetName, Map<string, string>>;
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

export class FamilyProgram {
  readonly family: IpFamily;
  readonly #random: () => number;
  readonly #mirrors: Readonly<Record<SetName, Mirror>>;
  readonly #claims = new ClaimTable();
  readonly #ports = new Map<string, PortPlan>();
  readonly #ids = new PortIds();
  readonly #hairpins = new RefCounts();
  readonly #clusterIPs = new RefCounts();
  readonly #classes = new RefCounts();
  /** Class words that each served frontend leads to. */
  readonly #classesOf = new Map<string, readonly string[]>();
  readonly #plans = new Map<string, ServicePlan>();
  /** Elements of `ranges` by owner. */
  readonly #rangesOf = new Map<number, readonly string[]>();
  /** Chains in the kernel, and those that shall come and go. */
  #chains = new Set<string>();
  readonly #newChains = new Map<string, Class>();
  readonly #idle = new Set<string>();
  /** Chain by class word, for those that are idle too. */
  readonly #chainOf = new Map<string, string>();

  /** `random` gives whole numbers below 2^32. */
  constructor(family: IpFamily, random: () => number) {
    this.family = family;
    this.#random = random;
    const mirrors = SET_NAMES.map((name) => [name, new Mirror(name)] as const);
    this.#mirrors = Object.fromEntries(mirrors) as Record<SetName, Mirror>;
  }

  /** Elements the kernel holds, as far as we know. */
  get elementCount(): number {
    return SET_NAMES.reduce((sum, name) => sum + this.#mirrors[name].size, 0);
  }

  /** The frontend that answers under this key. */
  winner(key: string): PlannedFrontend | undefined {
    return this.#claims.winner(key);
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
    for (const name of SET_NAMES) this.#mirrors[name].adopt(state.elements.get(name) ?? new Map());
    this.#chains = new Set(state.chains);
    this.#newChains.clear();
    this.#idle.clear();
    this.#chainOf.clear();
    for (const [word, chain] of state.elements.get('classes') ?? []) {
      this.#chainOf.set(word, chain);
      if (!this.#classes.has(word)) this.#idle.add(word);
    }
    for (const plan of this.#plans.values()) this.#realise(plan);
    for (const address of this.#hairpins.keys()) this.#setHairpin(address);
    for (const address of this.#clusterIPs.keys()) this.#mirrors['cluster-ips'].set(address);
    for (const word of this.#classes.keys()) this.#needClass(word);
    for (const words of this.#rangesOf.values()) {
      for (const word of words) this.#mirrors.ranges.set(word);
    }
  }

  /** Deletes what the kernel holds and no Service asked for. */
  sweep(): void {
    for (const word of this.#idle) this.#mirrors.classes.set(word, this.#chainOf.get(word) ?? '');
    for (const name of SET_NAMES) this.#mirrors[name].sweep();
    this.#dropIdleChains();
  }

  /** Puts one Service's plan in the place of its last one; returns the frontends it touched. */
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
    for (const key of touched) this.#setFrontend(key, this.#claims.winner(key));
    this.#dropIdleChains();
    return touched;
  }

  /** Replaces the pod ranges and the Service ranges. */
  setRanges(ranges: { podCidrs: readonly string[]; serviceCidrs: readonly string[] }): void {
    this.#setRanges(POD_RANGES, ranges.podCidrs);
    this.#setRanges(SERVICE_RANGES, ranges.serviceCidrs);
  }

  /** What differs from the kernel; call `confirm` once it has been committed. */
  take(): ProgramChanges {
    const sets = SET_NAMES.map((name) => this.#mirrors[name]).filter((m) => m.pendingCount > 0);
    const deleteChains = [...this.#chains].filter((chain) => this.#isUnused(chain));
    return {
      addChains: [...this.#newChains.values()],
      deleteChains,
      sets,
      elementCount: sets.reduce((sum, mirror) => sum + mirror.pendingCount, 0),
    };
  }

  /** The kernel has taken the changes. */
  confirm(changes: ProgramChanges): void {
    for (const mirror of changes.sets) mirror.confirm();
    for (const name of changes.deleteChains) this.#chains.delete(name);
    for (const one of changes.addChains) this.#chains.add(chainName(one));
    this.#newChains.clear();
  }

  #familyPart(plan: ServicePlan): ServicePlan | undefined {
    const ports = plan.ports.filter((port) => port.family === this.family);
    const clusterIPs = plan.clusterIPs.filter((address) => familyOf(address) === this.family);
    return ports.length === 0 ? undefined : { ...plan, ports, clusterIPs };
  }

  #realise(plan: ServicePlan): void {
    for (const port of plan.ports) {
      this.#setPort(port);
      for (const frontend of port.frontends) {
        const key = frontendKey(frontend);
        this.#setFrontend(key, this.#claims.winner(key));
      }
    }
  }

  // ---- ports: their endpoints

  #setPort(port: PortPlan): void {
    const { id } = port;
    this.#ports.set(id, port);
    const uses = (pools: readonly string[]) => port.frontends.some((f) => pools.includes(f.pool));
    const number = this.#ids.idOf(id);
    const kept = this.#stickyIds(number);
    const give = (target: Target): string => {
      if (port.affinitySeconds === 0) return numberWord(0);
      const key = targetWord(target);
      const known = kept.get(key) ?? this.#newStickyId(kept);
      kept.set(key, known);
      return known;
    };
    this.#setPool(number, 'all', uses(['cluster', 'bySource']) ? port.cluster : [], give);
    this.#setPool(number, 'local', uses(['local', 'bySource']) ? port.local : [], give);
    this.#setRanges(
      number,
      port.frontends.flatMap((frontend) => frontend.sources ?? []),
    );
  }

  #removePort(port: PortPlan): void {
    const number = this.#ids.idOf(port.id);
    const none = () => numberWord(0);
    this.#setPool(number, 'all', [], none);
    this.#setPool(number, 'local', [], none);
    this.#setRanges(number, []);
    this.#ports.delete(port.id);
    this.#ids.release(port.id);
  }

  /** The ids that tie clients to endpoints, by endpoint; an endpoint that left gets a new one. */
  #stickyIds(number: number): Map<string, string> {
    const ids = new Map<string, string>();
    for (const pool of ['all', 'local'] as const) {
      for (const data of this.#slots(number, pool)) {
        const id = data.slice(-8);
        if (id !== numberWord(0)) ids.set(data.slice(0, -8), id);
      }
    }
    return ids;
  }

  #newStickyId(taken: ReadonlyMap<string, string>): string {
    const used = new Set(taken.values());
    for (;;) {
      const id = numberWord(this.#random());
      if (id !== numberWord(0) && !used.has(id)) return id;
    }
  }

  #slots(number: number, pool: Pool): string[] {
    const slots: string[] = [];
    for (;;) {
      const data = this.#mirrors.endpoints.get(slotWord(number, pool, slots.length));
      if (data === undefined) return slots;
      slots.push(data);
    }
  }

  #setPool(
    number: number,
    pool: Pool,
    targets: readonly Target[],
    idOf: (target: Target) => string,
  ): void {
    const { endpoints, sticky } = this.#mirrors;
    const present = this.#slots(number, pool);
    const wanted = targets.map((target) => targetWord(target) + idOf(target));
    const slots = assignSlots(present, wanted);
    slots.forEach((data, slot) => endpoints.set(slotWord(number, pool, slot), data));
    for (let slot = slots.length; slot < present.length; slot += 1) {
      endpoints.delete(slotWord(number, pool, slot));
    }
    const gone = new Set(present);
    for (const data of slots) {
      gone.delete(data);
      const id = data.slice(-8);
      if (id !== numberWord(0)) sticky.set(stickyWord(pool, id, number), data.slice(0, -8));
    }
    for (const data of gone) sticky.delete(stickyWord(pool, data.slice(-8), number));
  }

  // ---- frontends

  /** Writes what a packet to the key meets: at most one of our sets besides `restricted` has it. */
  #setFrontend(key: string, frontend: PlannedFrontend | undefined): void {
    const { frontends, rejected, dropped, restricted } = this.#mirrors;
    const port = frontend && this.#ports.get(frontend.portId);
    if (frontend === undefined || port === undefined) {
      const [address = '', protocol, number] = key.split(' ');
      const word = frontendWord({ address, protocol: protocol as 'TCP', port: Number(number) });
      for (const mirror of [frontends, rejected, dropped, restricted]) mirror.delete(word);
      this.#useClasses(key, []);
      return;
    }
    const word = frontendWord(frontend);
    const id = numberWord(this.#ids.idOf(port.id));
    const usable = frontend.pool === 'local' ? port.local : port.cluster;
    const none = port.cluster.length === 0 && port.local.length === 0;
    const noLocal = !none && frontend.pool !== 'cluster' && port.local.length === 0;
    const classes = classesFor(frontend, port);
    const words = classes.map(classWord);
    const [first = NO_CLASS, , third = NO_CLASS] = words;
    setOrDelete(frontends, word, usable.length > 0 ? first + third + id : undefined);
    setOrDelete(rejected, word, none ? '' : undefined);
    setOrDelete(dropped, word, noLocal ? '' : undefined);
    setOrDelete(restricted, word, frontend.sources === undefined ? undefined : id);
    const used = usable.length > 0 ? classes.filter((one) => one.count > 0) : [];
    this.#useClasses(key, used.map(classWord));
    for (const one of used) this.#chainOf.set(classWord(one), chainFor(one));
    for (const one of used) this.#needClass(classWord(one));
  }

  // ---- classes and their chains

  #useClasses(key: string, words: readonly string[]): void {
    for (const word of words) this.#classes.add(word);
    for (const word of this.#classesOf.get(key) ?? []) {
      if (this.#classes.remove(word)) this.#idle.add(word);
    }
    if (words.length > 0) this.#classesOf.set(key, words);
    else this.#classesOf.delete(key);
  }

  #needClass(word: string): void {
    this.#idle.delete(word);
    const chain = this.#chainOf.get(word);
    if (chain === undefined) return;
    this.#mirrors.classes.set(word, chain);
    const one = parseChainName(chain);
    if (one !== undefined && !this.#chains.has(chain)) this.#newChains.set(chain, one);
  }

  #dropIdleChains(): void {
    if (this.#idle.size <= IDLE_CHAINS_MAX) return;
    for (const word of this.#idle) {
      this.#mirrors.classes.delete(word);
      const chain = this.#chainOf.get(word) ?? '';
      this.#chainOf.delete(word);
      this.#newChains.delete(chain);
    }
    this.#idle.clear();
  }

  #isUnused(chain: string): boolean {
    const one = parseChainName(chain);
    return one === undefined || this.#mirrors.classes.get(classWord(one)) === undefined;
  }

  // ---- what several Services share

  #countShared(plan: ServicePlan | undefined, step: 1 | -1): void {
    for (const address of plan?.clusterIPs ?? []) {
      const word = addressWord(address);
      if (step === 1) this.#clusterIPs.add(word);
      else this.#clusterIPs.remove(word);
      setOrDelete(this.#mirrors['cluster-ips'], word, this.#clusterIPs.has(word) ? '' : undefined);
    }
    for (const port of plan?.ports ?? []) {
      const locals = [...port.cluster, ...port.local].filter((target) => target.local);
      for (const target of locals) {
        const word = addressWord(target.address);
        if (step === 1) this.#hairpins.add(word);
        else this.#hairpins.remove(word);
        this.#setHairpin(word);
      }
    }
  }

  #setHairpin(word: string): void {
    setOrDelete(this.#mirrors.hairpin, word + word, this.#hairpins.has(word) ? '' : undefined);
  }

  #setRanges(owner: number, cidrs: readonly string[]): void {
    const { ranges } = this.#mirrors;
    const words = disjoint(cidrs, this.family).map((range) => rangeWord(owner, range));
    for (const word of this.#rangesOf.get(owner) ?? []) {
      if (!words.includes(word)) ranges.delete(word);
    }
    for (const word of words) ranges.set(word);
    if (words.length > 0) this.#rangesOf.set(owner, words);
    else this.#rangesOf.delete(owner);
  }
}

/**
 * The classes of a frontend: the one its packets enter by and, for `bySource`, the one for the
 * node's own clients and the one for everybody else.
 */
function classesFor(frontend: PlannedFrontend, port: PortPlan): Class[] {
  const { affinitySeconds } = port;
  const entry = entryOf(frontend);
  const all = { pool: 'all', count: port.cluster.length, affinitySeconds } as const;
  const local = { pool: 'local', count: port.local.length, affinitySeconds } as const;
  if (frontend.pool === 'local') return [{ ...local, entry }];
  if (entry !== 'source') return [{ ...all, entry }];
  return [
    { ...all, entry },
    { ...all, entry: 'plain' },
    { ...local, entry: 'plain' },
  ];
}

function chainFor(one: Class): string {
  return one.entry === 'source' ? SOURCE_CHAIN : chainName(one);
}

function setOrDelete(mirror: Mirror, key: string, data: string | undefined): void {
  if (data === undefined) mirror.delete(key);
  else mirror.set(key, data);
}

function targetWord(target: Target): string {
  return addressWord(target.address) + portWord(target.port);
}

function slotWord(number: number, pool: Pool, slot: number): string {
  return numberWord(number) + numberWord(pool === 'local' ? LOCAL_SLOTS + slot : slot);
}

/** How the affinity rules name a pool. */
export function poolWord(pool: Pool): string {
  return numberWord(pool === 'local' ? 1 : 0);
}

function stickyWord(pool: Pool, id: string, number: number): string {
  return poolWord(pool) + id + numberWord(number);
}

/** An interval: the first key, then the last one, of `owner . address`. */
function rangeWord(owner: number, range: { first: string; last: string }): string {
  return numberWord(owner) + range.first + numberWord(owner) + range.last;
}

/** Prefixes without those inside another: the kernel refuses overlapping intervals. */
function disjoint(cidrs: readonly string[], family: IpFamily): { first: string; last: string }[] {
  const ranges = cidrs
    .flatMap((text) => parseCidr(text) ?? [])
    .filter((cidr) => cidr.family === family)
    .map((cidr) => ({ first: cidr.bytes.toHex(), last: lastOf(cidr.bytes, cidr.prefixLength) }))
    .sort((a, b) => (a.first === b.first ? compare(b.last, a.last) : compare(a.first, b.first)));
  const kept: { first: string; last: string }[] = [];
  for (const range of ranges) {
    const before = kept.at(-1);
    if (before === undefined || range.first > before.last) kept.push(range);
  }
  return kept;
}

function lastOf(bytes: Uint8Array, prefixLength: number): string {
  return bytes
    .map((byte, index) => byte | (0xff >> Math.min(8, Math.max(0, prefixLength - index * 8))))
    .toHex();
}

function compare(a: string, b: string): number {
  if (a === b) return 0;
  return a < b ? -1 : 1;
}
