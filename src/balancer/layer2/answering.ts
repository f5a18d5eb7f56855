/**
 * Answering for addresses on a link that are not this machine's own: the kernel does it by proxy
 * neighbour entries, and goes on when this process is gone. Such an entry is used only when the address
 * is routed to another link (ARP, net/ipv4/arp.c arp_process), so there is a bridge without ports for
 * it; packets to a port that no Service has end there. Made on the calling thread's network.
 */
import { announce } from '../../kernel/packet/announce.ts';
import { macBytes } from '../../kernel/route/mac.ts';
import {
  addLink,
  deleteNeighbour,
  deleteRoute,
  replaceNeighbour,
  replaceRoute,
  RouteConnection,
  writeSysctl,
} from '../../kernel/route/index.ts';
import { assert } from '../../lib/errors.ts';
import { bitsOf, familyOf } from '../../lib/ip.ts';

const sink = 'fairlead-l2';

export class Answering implements Disposable {
  readonly #connection = new RouteConnection();
  readonly #linkIndex: number;
  readonly #mac: Uint8Array;
  readonly #sinkIndex: number;
  readonly #present: Set<string>;

  /** Takes over what an earlier run has left. */
  constructor(link: string, families: readonly ('ipv4' | 'ipv6')[]) {
    using opened = new DisposableStack();
    opened.use(this.#connection);
    const found = this.#connection.link(link);
    assert(found !== undefined, `the node has link "${link}"`);
    this.#linkIndex = found.index;
    this.#mac = macBytes(found.address);
    const kind = { kind: 'bridge' } as const;
    this.#connection.ensure(addLink({ name: sink, kind, up: true }), `create link "${sink}"`);
    this.#sinkIndex = this.#connection.link(sink)!.index;
    for (const family of families) {
      // By default the kernel waits up to 0.8 s before it answers for another.
      writeSysctl(`net.${family}.neigh.${link}.proxy_delay`, 0);
      if (family === 'ipv6') writeSysctl(`net.ipv6.conf.${link}.proxy_ndp`, 1);
    }
    const entries = this.#connection.neighbours({ linkIndex: found.index, proxy: true });
    this.#present = new Set(entries.map(({ address }) => address));
    opened.move();
  }

  /** Addresses answered for now. */
  get addresses(): readonly string[] {
    return [...this.#present];
  }

  has(address: string): boolean {
    return this.#present.has(address);
  }

  /** Answers from now on. */
  start(address: string): void {
    const destination = `${address}/${bitsOf(familyOf(address)!)}`;
    this.#connection.apply(
      replaceRoute({ destination, linkIndex: this.#sinkIndex }),
      `route ${address} to link "${sink}"`,
    );
    this.#connection.apply(
      replaceNeighbour({ linkIndex: this.#linkIndex, address, proxy: true }),
      `answer for ${address}`,
    );
    this.#present.add(address);
  }

  /** Tells the link where the address is, for those who know it elsewhere. */
  announce(address: string): void {
    announce({ linkIndex: this.#linkIndex, mac: this.#mac, address });
  }

  /** Answers no more; nothing when it did not. */
  stop(address: string): void {
    if (!this.#present.has(address)) return;
    const destination = `${address}/${bitsOf(familyOf(address)!)}`;
    this.#connection.ensure(
      deleteNeighbour({ linkIndex: this.#linkIndex, address, proxy: true }),
      `answer for ${address} no more`,
    );
    this.#connection.ensure(
      deleteRoute({ destination, linkIndex: this.#sinkIndex }),
      `delete the route of ${address}`,
    );
    this.#present.delete(address);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
