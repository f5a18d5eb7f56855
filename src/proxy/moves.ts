/**
 * Endpoints that move from one slice to another may leave the one before they are in the other
 * (P12). A Service that loses its last endpoint this way is planned without any only once nobody
 * came for a moment.
 */
import type { EndpointSlice } from '../api/types.ts';
import type { Clock } from '../lib/clock.ts';
import { serviceKeyOf } from '../plan/forwarding.ts';

const MOVE_MS = 200;

export type MovesOptions = {
  readonly clock: Clock;
  /** Every slice of the Service `namespace/name`, as it is now. */
  readonly slicesOf: (service: string) => readonly EndpointSlice[];
};

export class Moves {
  readonly #options: MovesOptions;
  /** By Service and family; each is called off when endpoints come. */
  readonly #waiting = new Map<string, () => void>();

  constructor(options: MovesOptions) {
    this.#options = options;
  }

  /** Calls back at once, or, when nobody is left, after a moment in which nobody came. */
  note(
    old: EndpointSlice | undefined,
    current: EndpointSlice | undefined,
    callback: () => void,
  ): void {
    // Looking for endpoints unpacks them: only where it matters.
    if (this.#waiting.size > 0 && current !== undefined && !isEmpty(current)) {
      this.#callOff(idOf(current));
    }
    const slice = old ?? current;
    if (slice === undefined || !isEmpty(current) || !this.#mustWait(slice)) {
      callback();
      return;
    }
    const id = idOf(slice);
    this.#callOff(id);
    const cancel = this.#options.clock.after(MOVE_MS, () => {
      this.#waiting.delete(id);
      callback();
    });
    this.#waiting.set(id, cancel);
  }

  [Symbol.dispose](): void {
    for (const cancel of this.#waiting.values()) cancel();
    this.#waiting.clear();
  }

  #callOff(id: string): void {
    this.#waiting.get(id)?.();
    this.#waiting.delete(id);
  }

  /** Whether the last endpoint left with the slice, or did so a moment ago. */
  #mustWait(slice: EndpointSlice): boolean {
    const left = this.#waiting.has(idOf(slice)) || !isEmpty(slice);
    return left && this.#isDeserted(slice);
  }

  /** Whether no slice of its Service and family has endpoints. */
  #isDeserted(slice: EndpointSlice): boolean {
    const service = serviceKeyOf(slice);
    if (service === undefined) return false;
    const slices = this.#options.slicesOf(service);
    return slices.every((one) => one.addressType !== slice.addressType || isEmpty(one));
  }
}

function idOf(slice: EndpointSlice): string {
  return `${serviceKeyOf(slice)} ${slice.addressType}`;
}

function isEmpty(slice: EndpointSlice | undefined): boolean {
  return (slice?.endpoints ?? []).length === 0;
}
