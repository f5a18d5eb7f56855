/** The addresses that the balancer host has for Services, on the link where clients ask for them. */
import { macBytes } from '../../kernel/route/mac.ts';
import { announce } from '../../kernel/packet/announce.ts';
import { deleteAddress, replaceAddress, RouteConnection } from '../../kernel/route/index.ts';
import { assert } from '../../lib/errors.ts';
import { bitsOf, familyOf } from '../../lib/ip.ts';

export class HostAddresses implements Disposable {
  readonly #connection = new RouteConnection();
  readonly #linkIndex: number;
  readonly #mac: Uint8Array;
  readonly #present: Set<string>;

  /** Made inside the host's network. `own` are addresses that are not for Services. */
  constructor(link: string, own: readonly string[]) {
    using opened = new DisposableStack();
    opened.use(this.#connection);
    const found = this.#connection.link(link);
    assert(found !== undefined, `the balancer host has link "${link}"`);
    this.#linkIndex = found.index;
    this.#mac = macBytes(found.address);
    const all = this.#connection.addresses(found.index).filter(({ scope }) => scope === 'global');
    this.#present = new Set(all.map(({ address }) => address));
    for (const address of own) this.#present.delete(address);
    opened.move();
  }

  /** Those that are missing, and those that are not wanted. */
  differences(wanted: ReadonlySet<string>): { missing: string[]; surplus: string[] } {
    return {
      missing: [...wanted].filter((address) => !this.#present.has(address)),
      surplus: [...this.#present].filter((address) => !wanted.has(address)),
    };
  }

  /** Has the address from now on, and says so to the link; call it inside the host's network. */
  add(address: string): void {
    const linkIndex = this.#linkIndex;
    const prefixLength = bitsOf(familyOf(address)!);
    // Never a source of the host's own packets: it goes with its Service.
    const more = { noDad: true, noPrefixRoute: true, deprecated: prefixLength === 128 };
    this.#connection.apply(
      replaceAddress({ linkIndex, address, prefixLength, ...more }),
      `give the balancer host address ${address}`,
    );
    this.#present.add(address);
    this.announce(address);
  }

  /** Says where the address is, if it still is here; call it inside the host's network. */
  announce(address: string): void {
    if (!this.#present.has(address)) return;
    announce({ linkIndex: this.#linkIndex, mac: this.#mac, address });
  }

  remove(address: string): void {
    const prefixLength = bitsOf(familyOf(address)!);
    this.#connection.ensure(
      deleteAddress({ linkIndex: this.#linkIndex, address, prefixLength }),
      `take address ${address} from the balancer host`,
    );
    this.#present.delete(address);
  }

  [Symbol.dispose](): void {
    this.#connection[Symbol.dispose]();
  }
}
