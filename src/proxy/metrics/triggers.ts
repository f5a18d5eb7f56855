/**
 * When the pods changed whose slices are on their way to the kernel (P140): stamps of the
 * annotation that the EndpointSlice controller writes.
 */
import type { EndpointSlice } from '../../api/types.ts';
import type { IpFamily } from '../../lib/ip.ts';

const TRIGGER_TIME = 'endpoints.kubernetes.io/last-change-trigger-time';
/** More than this in one sync says nothing that these do not. */
const TRIGGERS_MAX = 10_000;

export class Triggers {
  readonly #startedMs: number;
  readonly #waiting: Record<IpFamily, number[]> = { ipv4: [], ipv6: [] };

  /** Stamps before `startedMs` (since the epoch) are somebody else's. */
  constructor(startedMs: number) {
    this.#startedMs = startedMs;
  }

  note(old: EndpointSlice | undefined, current: EndpointSlice | undefined): void {
    if (current === undefined || current.addressType === 'FQDN') return;
    const stamp = stampOf(current);
    if (stamp === undefined || stamp === (old && stampOf(old))) return;
    const ms = Date.parse(stamp);
    const waiting = this.#waiting[current.addressType === 'IPv6' ? 'ipv6' : 'ipv4'];
    if (ms > this.#startedMs && waiting.length < TRIGGERS_MAX) waiting.push(ms);
  }

  /** Hands out those of a family, once. */
  take(family: IpFamily): number[] {
    return this.#waiting[family].splice(0);
  }
}

function stampOf(slice: EndpointSlice): string | undefined {
  return slice.metadata.annotations?.[TRIGGER_TIME];
}
