/** Which classes are in use, by which frontends, and the chains that must exist for them. */
import { chainName, classWord, leadsToPlain, parseChainName, type Class } from './classes.ts';
import type { Mirror } from './mirror.ts';
import { RefCounts } from './ref-counts.ts';

/** Chains of classes nobody uses any more are kept up to this many: counts tend to come back. */
const IDLE_CHAINS_MAX = 64;

export class ClassTable {
  readonly #mirror: Mirror;
  readonly #users = new RefCounts();
  /** Class words by frontend. */
  readonly #wordsOf = new Map<string, readonly string[]>();
  /** The chain each class word leads to, of idle classes too. */
  readonly #chainOf = new Map<string, string>();
  readonly #idle = new Set<string>();
  /** Class chains in the kernel with sound rules. */
  #chains = new Set<string>();
  readonly #newChains = new Map<string, Class>();
  /** Chains of the kernel that no element leads to any more. */
  readonly #leaving = new Set<string>();
  /** Between adoption and sweep some chain that nobody asked for may still lead to a leaving one. */
  #adopting = false;

  /** `mirror` is that of the verdict map `classes`. */
  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  /** Starts from what the kernel holds; classes in use are asked for again. */
  adopt(elements: Iterable<readonly [string, string]>, chains: ReadonlySet<string>): void {
    this.#chains = new Set(chains);
    this.#newChains.clear();
    this.#idle.clear();
    this.#leaving.clear();
    this.#adopting = true;
    for (const [word, chain] of elements) {
      this.#chainOf.set(word, chain);
      if (!this.#users.has(word)) this.#idle.add(word);
    }
    for (const word of this.#users.keys()) this.#need(word);
  }

  /** Keeps idle classes from being swept, unless they are too many or their chain is unsound. */
  sweep(): void {
    this.#adopting = false;
    for (const word of this.#idle) {
      const chain = this.#chainOf.get(word) ?? '';
      if (this.#chains.has(chain) && isShared(chain)) this.#mirror.set(word, chain);
    }
    this.dropIdle();
    for (const chain of this.#chains) if (!this.#isLedTo(chain)) this.#leaving.add(chain);
  }

  /** A frontend now leads to these classes and no others. */
  use(frontend: string, classes: readonly Class[]): void {
    const words = classes.map(classWord);
    for (const word of words) this.#users.add(word);
    for (const word of this.#wordsOf.get(frontend) ?? []) {
      if (this.#users.remove(word)) this.#leaveIdle(word);
    }
    if (words.length > 0) this.#wordsOf.set(frontend, words);
    else this.#wordsOf.delete(frontend);
    for (const [index, word] of words.entries()) {
      const one = classes[index];
      if (one) this.#leadTo(word, chainName(one));
      this.#need(word);
    }
  }

  /** Lets go of idle classes when there are many. */
  dropIdle(): void {
    if (this.#idle.size <= IDLE_CHAINS_MAX) return;
    for (const word of this.#idle) this.#forget(word);
    this.#idle.clear();
  }

  /** In an order in which each may lead to those before it. */
  get addChains(): Class[] {
    const classes = [...this.#newChains.values()];
    return classes.sort((a, b) => Number(leadsToPlain(a)) - Number(leadsToPlain(b)));
  }

  get deleteChains(): string[] {
    if (this.#adopting) return [];
    return [...this.#leaving];
  }

  confirm(changes: { addChains: readonly Class[]; deleteChains: readonly string[] }): void {
    for (const name of changes.deleteChains) {
      this.#chains.delete(name);
      this.#leaving.delete(name);
    }
    for (const one of changes.addChains) this.#chains.add(chainName(one));
    this.#newChains.clear();
  }

  /** What the kernel does not have yet, or nobody else can use, need not be kept for nobody. */
  #leaveIdle(word: string): void {
    const isKept = this.#mirror.isHeld(word) && isShared(this.#chainOf.get(word) ?? '');
    if (isKept) this.#idle.add(word);
    else this.#forget(word);
  }

  #forget(word: string): void {
    this.#mirror.delete(word);
    this.#leave(this.#chainOf.get(word));
    this.#chainOf.delete(word);
  }

  /** The chain of a word changes where a Service port takes turns and changes its affinity. */
  #leadTo(word: string, chain: string): void {
    const before = this.#chainOf.get(word);
    if (before !== chain) this.#leave(before);
    this.#chainOf.set(word, chain);
  }

  #leave(chain: string | undefined): void {
    if (chain === undefined) return;
    this.#newChains.delete(chain);
    if (this.#chains.has(chain)) this.#leaving.add(chain);
  }

  #isLedTo(chain: string): boolean {
    const one = parseChainName(chain);
    return one !== undefined && this.#mirror.get(classWord(one)) === chain;
  }

  #need(word: string): void {
    const chain = this.#chainOf.get(word);
    if (chain === undefined) return;
    this.#idle.delete(word);
    this.#leaving.delete(chain);
    this.#mirror.set(word, chain);
    const one = parseChainName(chain);
    if (one !== undefined && !this.#chains.has(chain)) this.#newChains.set(chain, one);
  }
}

/** A chain that takes turns is one Service port's own. */
function isShared(chain: string): boolean {
  return parseChainName(chain)?.choice.kind !== 'turn';
}
