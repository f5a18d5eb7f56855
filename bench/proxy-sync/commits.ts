/** When the ruleset of this namespace was changed. */
import { monitorRuleset, NftConnection } from '../../src/kernel/nftables/index.ts';

/** Commits that come this soon after one another belong to one change. */
const QUIET_MS = 600;
const PATIENCE_MS = 120_000;

/** Listens only while disposed of: notifications cost whoever commits. */
export class Commits {
  readonly #monitor: Disposable;
  #listener: ((at: number) => void) | undefined;

  constructor() {
    this.#monitor = monitorRuleset((event) => {
      if (event.kind !== 'element') this.#listener?.(performance.now());
    });
  }

  /** The first commit from now on. */
  first(): Promise<number> {
    return this.#next((at, done) => done(at));
  }

  /** The last one of a burst. */
  last(): Promise<number> {
    let timer: NodeJS.Timeout | undefined;
    return this.#next((at, done) => {
      clearTimeout(timer);
      timer = setTimeout(() => done(at), QUIET_MS);
    });
  }

  [Symbol.dispose](): void {
    this.#monitor[Symbol.dispose]();
  }

  #next(take: (at: number, done: (at: number) => void) => void): Promise<number> {
    const { promise, resolve, reject } = Promise.withResolvers<number>();
    const timer = setTimeout(() => reject(new Error('no commit came')), PATIENCE_MS);
    this.#listener = (at) => take(at, resolve);
    return promise.finally(() => {
      this.#listener = undefined;
      clearTimeout(timer);
    });
  }
}

/** Transactions so far. */
export function generation(): number {
  using connection = new NftConnection();
  return connection.generation().id;
}
