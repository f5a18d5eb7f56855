/** The network of a namespace: links, addresses, routes, neighbours, rules, settings. */
export { addAddress, deleteAddress, replaceAddress } from './addresses.ts';
export type { Address, AddressScope, NewAddress } from './addresses.ts';
export { RT_TABLE_LOCAL, RT_TABLE_MAIN, RTPROT_FAIRLEAD, RTPROT_KERNEL } from './constants.ts';
export { addLink, deleteLink, setBridgePort, setLink } from './links.ts';
export type {
  Link,
  LinkChanges,
  LinkKind,
  LinkRef,
  LinkSettings,
  NewLink,
  VethPeer,
} from './links.ts';
export { monitorRoutes } from './monitor.ts';
export type { RouteEvent, RouteTopic } from './monitor.ts';
export { deleteNeighbour, replaceNeighbour } from './neighbours.ts';
export type { Neighbour } from './neighbours.ts';
export { RouteConnection } from './route-connection.ts';
export { addRoute, deleteRoute, replaceRoute } from './routes.ts';
export type { NextHop, Route, RouteScope, RouteType } from './routes.ts';
export { addRoutingRule, deleteRoutingRule } from './rules.ts';
export type { RoutingRule } from './rules.ts';
export { readSysctl, writeSysctl } from './sysctl.ts';
