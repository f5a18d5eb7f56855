/** Tracked connections. */
export { ConntrackConnection } from './conntrack-connection.ts';
export { FLOW_STATUS, PROTOCOL } from './flow.ts';
export type { Flow, Tuple } from './flow.ts';
