/** Hands out pod addresses from the node's pod CIDRs (K2). */
import { WorldError } from '../../lib/errors.ts';
import { addressAt, bitsOf, formatCidr, type Cidr } from '../../lib/ip.ts';
import { readJson, writeFileAtomically } from './files.ts';

type Saved = { next: number; held: Record<string, number> };

/** The first two places stay free: the network's own and the one people give a gateway. */
const firstOffset = 2;
/** A v6 range is far larger than a node can have pods; this many places are walked before reuse. */
const placesMax = 65_536;

/**
 * A pod has the same place in the range of each family. Places go round, so that one just given
 * back is handed out last; what is held survives a restart in the file.
 */
export class AddressPool {
  readonly #cidrs: readonly Cidr[];
  readonly #path: string;
  readonly #end: number;
  #next = firstOffset;
  readonly #held = new Map<string, number>();

  constructor(cidrs: readonly Cidr[], path: string) {
    this.#cidrs = cidrs;
    this.#path = path;
    this.#end = Math.min(...cidrs.map(endOf));
    const saved = readJson(path) as Saved | undefined;
    if (saved === undefined) return;
    if (saved.next < this.#end) this.#next = saved.next;
    for (const [uid, offset] of Object.entries(saved.held)) this.#held.set(uid, offset);
  }

  /** One address per family; the same ones whenever the pod asks again. */
  assign(podUid: string): string[] {
    let offset = this.#held.get(podUid);
    if (offset === undefined) {
      offset = this.#choose();
      this.#held.set(podUid, offset);
      this.#save();
    }
    return this.#cidrs.map((cidr) => addressAt(cidr, offset));
  }

  release(podUid: string): void {
    if (this.#held.delete(podUid)) this.#save();
  }

  /** The pods that hold an address. */
  holders(): string[] {
    return [...this.#held.keys()];
  }

  #choose(): number {
    const taken = new Set(this.#held.values());
    const count = this.#end - firstOffset;
    for (let step = 0; step < count; step += 1) {
      const offset = firstOffset + ((this.#next - firstOffset + step) % count);
      if (taken.has(offset)) continue;
      this.#next = offset + 1 < this.#end ? offset + 1 : firstOffset;
      return offset;
    }
    const range = this.#cidrs.map(formatCidr).join(' and ');
    throw new WorldError(
      'POD_ADDRESSES',
      `Cannot assign a pod address from "${range}": all ${count} are held`,
    );
  }

  #save(): void {
    const saved: Saved = { next: this.#next, held: Object.fromEntries(this.#held) };
    writeFileAtomically(this.#path, JSON.stringify(saved));
  }
}

/** One past the last usable place: a v4 range ends with its broadcast address. */
function endOf(cidr: Cidr): number {
  const size = 2 ** Math.min(bitsOf(cidr.family) - cidr.prefixLength, 32);
  return Math.min(cidr.family === 'ipv4' ? size - 1 : size, placesMax);
}
