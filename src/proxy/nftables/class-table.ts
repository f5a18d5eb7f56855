/** Which classes are in use, by which frontends, and the chains that must exist for them. */
import { chainName, classWord, parseChainName, type Class } from './classes.ts';
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

  /** `mirror` is that of the verdict map `classes`. */
  constructor(mirror: Mirror) {
    this.#mirror = mirror;
  }

  /** Starts from what the kernel holds; classes in use are asked for again. */
  adopt(elements: ReadonlyMap<string, string>, chains: ReadonlySet<string>): void {
    this.#chains = new Set(chains);
    this.#newChains.clear();
    this.#idle.clear();
    for (const [word, chain] of elements) {
      this.#chainOf.set(word, chain);
      if (!this.#users.has(word)) this.#idle.add(word);
    }
    for (const word of this.#users.keys()) this.#need(word);
  }

  /** Keeps idle classes from being swept, unless they are too many or their chain is unsound. */
  sweep(): void {
    for (const word of this.#idle) {
      const chain = this.#chainOf.get(word) ?? '';
      if (this.#chains.has(chain)) this.#mirror.set(word, chain);
    }
    this.dropIdle();
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
      if (one) this.#chainOf.set(word, chainName(one));
      this.#need(word);
    }
  }

  /** Lets go of idle classes when there are many. */
  dropIdle(): void {
    if (this.#idle.size <= IDLE_CHAINS_MAX) return;
    for (const word of this.#idle) this.#forget(word);
    this.#idle.clear();
  }

  get addChains(): Class[] {
    return [...this.#newChains.values()];
  }

  get deleteChains(): string[] {
    return [...this.#chains].filter((chain) => {
      const one = parseChainName(chain);
      return one === undefined || this.#mirror.get(classWord(one)) !== chain;
    });
  }

  confirm(changes: { addChains: readonly Class[]; deleteChains: readonly string[] }): void {
    for (const name of changes.deleteChains) this.#chains.delete(name);
    for (const one of changes.addChains) this.#chains.add(chainName(one));
    this.#newChains.clear();
  }

  /** What the kernel does not have yet need not be made for nobody. */
  #leaveIdle(word: string): void {
    if (this.#mirror.isHeld(word)) this.#idle.add(word);
    else this.#forget(word);
  }

  #forget(word: string): void {
    this.#mirror.delete(word);
    this.#newChains.delete(this.#chainOf.get(word) ?? '');
    this.#chainOf.delete(word);
  }

  #need(word: string): void {
    const chain = this.#chainOf.get(word);
    if (chain === undefined) return;
    this.#idle.delete(word);
    this.#mirror.set(word, chain);
    const one = parseChainName(chain);
    if (one !== undefined && !this.#chains.has(chain)) this.#newChains.set(chain, one);
  }
}
