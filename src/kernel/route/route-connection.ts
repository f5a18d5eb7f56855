/** Links, addresses, routes, neighbours and rules of one network namespace, read and changed. */
import { ERRNO } from '../ffi/libc.ts';
import { NETLINK_ROUTE } from '../netlink/constants.ts';
import type { Message } from '../netlink/message.ts';
import { NetlinkError } from '../netlink/netlink-error.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { decodeAddress, listAddresses, type Address } from './addresses.ts';
import { AF_INET, AF_INET6 } from './constants.ts';
import { decodeLink, getLink, listLinks, type Link, type LinkRef } from './links.ts';
import { decodeNeighbour, listNeighbours, type Neighbour } from './neighbours.ts';
import { decodeRoute, getRoute, isClonedRoute, listRoutes, type Route } from './routes.ts';
import { decodeRoutingRule, listRoutingRules, type RoutingRule } from './rules.ts';

const FAMILIES = [AF_INET, AF_INET6];

/**
 * A connection to rtnetlink in the namespace the calling thread is in now.
 * Changes are messages: `routes.apply(addRoute({…}))`.
 */
export class RouteConnection {
  readonly #socket = new NetlinkSocket(NETLINK_ROUTE, { strict: true });

  /** Makes one change. `tried` completes "Cannot …" in the error. Throws `NetlinkError`. */
  apply(message: Message, tried = 'change the network'): void {
    this.#socket.request(message, tried);
  }

  /** As `apply`, but an answer that says it is so already (or is gone already) is fine. */
  ensure(message: Message, tried = 'change the network'): void {
    try {
      this.#socket.request(message, tried);
    } catch (error) {
      if (!(error instanceof NetlinkError) || !SO_ALREADY.has(error.errno)) throw error;
    }
  }

  /** A link by index or name; undefined when there is none. */
  link(ref: LinkRef): Link | undefined {
    try {
      const answer = this.#socket.query(getLink(ref), `read link "${ref}"`);
      return answer === undefined ? undefined : decodeLink(answer.body);
    } catch (error) {
      if (error instanceof NetlinkError && error.errno === ERRNO.ENODEV) return undefined;
      throw error;
    }
  }

  links(): Link[] {
    return this.#socket.dump(listLinks(), 'list links').map(({ body }) => decodeLink(body));
  }

  /** Of every link, or of one. */
  addresses(linkIndex?: number): Address[] {
    const messages = this.#socket.dump(listAddresses(linkIndex), 'list addresses');
    return messages.map(({ body }) => decodeAddress(body));
  }

  /** IPv4 and IPv6 routes of every table, or those the filter names. */
  routes(filter: { table?: number; protocol?: number; linkIndex?: number } = {}): Route[] {
    return FAMILIES.flatMap((family) => this.#routes(family, filter));
  }

  /** The way a packet to this address would take; undefined when there is none. */
  routeTo(address: string): Route | undefined {
    try {
      const answer = this.#socket.query(getRoute(address), `look up the route to ${address}`);
      return answer === undefined ? undefined : decodeRoute(answer.body);
    } catch (error) {
      if (error instanceof NetlinkError && NO_WAY.has(error.errno)) return undefined;
      throw error;
    }
  }

  neighbours(filter: { linkIndex?: number; proxy?: boolean } = {}): Neighbour[] {
    return FAMILIES.flatMap((family) => {
      const messages = this.#socket.dump(listNeighbours(family, filter), 'list neighbours');
      return messages.flatMap(({ body }) => decodeNeighbour(body) ?? []);
    });
  }

  routingRules(): RoutingRule[] {
    return FAMILIES.flatMap((family) => {
      const messages = this.#socket.dump(listRoutingRules(family), 'list routing rules');
      return messages.flatMap(({ body }) => decodeRoutingRule(body) ?? []);
    });
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
  }

  #routes(family: number, filter: { table?: number; protocol?: number; linkIndex?: number }) {
    try {
      const messages = this.#socket.dump(listRoutes(family, filter), 'list routes');
      return messages.flatMap(({ body }) => (isClonedRoute(body) ? [] : (decodeRoute(body) ?? [])));
    } catch (error) {
      // The kernel says so when the table asked for has never had a route.
      if (error instanceof NetlinkError && error.errno === ERRNO.ENOENT) return [];
      throw error;
    }
  }
}

/** The answers to adding what is there, and to deleting what is not. */
const SO_ALREADY: ReadonlySet<number> = new Set([
  ERRNO.EEXIST,
  ERRNO.ENOENT,
  ERRNO.ESRCH,
  ERRNO.ENODEV,
  ERRNO.EADDRNOTAVAIL,
]);

const NO_WAY: ReadonlySet<number> = new Set([ERRNO.ENETUNREACH, ERRNO.EHOSTUNREACH]);
