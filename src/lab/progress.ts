/** The steps of a long command, each with its time. */

export type Step = { readonly name: string; readonly ms: number; readonly sinceStartMs: number };

export class Progress {
  readonly steps: Step[] = [];
  readonly #show: (step: Step) => void;
  readonly #started = performance.now();

  constructor(show: (step: Step) => void) {
    this.#show = show;
  }

  /** Runs one step and tells how long it took. */
  async step<T>(name: string, work: () => T | Promise<T>): Promise<T> {
    const started = performance.now();
    const result = await work();
    const now = performance.now();
    const step = { name, ms: now - started, sinceStartMs: now - this.#started };
    this.steps.push(step);
    this.#show(step);
    return result;
  }
}
