/** Tells of changes to links, addresses, routes and neighbours as they happen: `ip monitor`. */
import { NETLINK_ROUTE } from '../netlink/constants.ts';
import type { ReceivedMessage } from '../netlink/message.ts';
import { NetlinkSocket } from '../netlink/socket.ts';
import { decodeAddress, type Address } from './addresses.ts';
import {
  AF_UNSPEC,
  RTM_DELADDR,
  RTM_DELLINK,
  RTM_DELNEIGH,
  RTM_DELROUTE,
  RTM_NEWADDR,
  RTM_NEWLINK,
  RTM_NEWNEIGH,
  RTM_NEWROUTE,
  RTNLGRP_IPV4_IFADDR,
  RTNLGRP_IPV4_ROUTE,
  RTNLGRP_IPV6_IFADDR,
  RTNLGRP_IPV6_ROUTE,
  RTNLGRP_LINK,
  RTNLGRP_NEIGH,
} from './constants.ts';
import { decodeLink, type Link } from './links.ts';
import { decodeNeighbour, type Neighbour } from './neighbours.ts';
import { decodeRoute, isClonedRoute, type Route } from './routes.ts';

/** `overrun`: events were lost, what they told of must be read again. */
export type RouteEvent =
  | { readonly kind: 'link'; readonly deleted: boolean; readonly link: Link }
  | { readonly kind: 'address'; readonly deleted: boolean; readonly address: Address }
  | { readonly kind: 'route'; readonly deleted: boolean; readonly route: Route }
  | { readonly kind: 'neighbour'; readonly deleted: boolean; readonly neighbour: Neighbour }
  | { readonly kind: 'overrun' };

export type RouteTopic = 'link' | 'address' | 'route' | 'neighbour';

const GROUPS: Record<RouteTopic, readonly number[]> = {
  link: [RTNLGRP_LINK],
  address: [RTNLGRP_IPV4_IFADDR, RTNLGRP_IPV6_IFADDR],
  route: [RTNLGRP_IPV4_ROUTE, RTNLGRP_IPV6_ROUTE],
  neighbour: [RTNLGRP_NEIGH],
};

/** Calls back with each change in the calling thread's namespace, until disposed. */
export function monitorRoutes(
  topics: readonly RouteTopic[],
  callback: (event: RouteEvent) => void,
): Disposable {
  const groups = topics.flatMap((topic) => GROUPS[topic]);
  const socket = new NetlinkSocket(NETLINK_ROUTE, { groups });
  socket.listen((messages) => {
    if (messages === 'overrun') {
      callback({ kind: 'overrun' });
      return;
    }
    for (const message of messages) {
      const event = decodeRouteEvent(message);
      if (event !== undefined) callback(event);
    }
  });
  return socket;
}

/** What a notification says; undefined for one that is none of ours. */
export function decodeRouteEvent(message: ReceivedMessage): RouteEvent | undefined {
  const { type, body } = message;
  switch (type) {
    case RTM_NEWLINK:
    case RTM_DELLINK:
      // A bridge tells of its ports in the same words: one that is "deleted" has only left it.
      if (body[0] !== AF_UNSPEC) return undefined;
      return { kind: 'link', deleted: type === RTM_DELLINK, link: decodeLink(body) };
    case RTM_NEWADDR:
    case RTM_DELADDR:
      return { kind: 'address', deleted: type === RTM_DELADDR, address: decodeAddress(body) };
    case RTM_NEWROUTE:
    case RTM_DELROUTE: {
      const route = isClonedRoute(body) ? undefined : decodeRoute(body);
      return route && { kind: 'route', deleted: type === RTM_DELROUTE, route };
    }
    case RTM_NEWNEIGH:
    case RTM_DELNEIGH: {
      const neighbour = decodeNeighbour(body);
      return neighbour && { kind: 'neighbour', deleted: type === RTM_DELNEIGH, neighbour };
    }
    default:
      return undefined;
  }
}
