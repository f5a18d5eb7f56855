/**
 * The truth table of traffic policies and masquerading, as the contract has it (P57-P65): what the
 * evaluator must answer and what the kernel must do. Written by hand, for tests.
 */
export type TrafficSource = 'pod' | 'node' | 'outside';
export type TrafficDestination = 'clusterIP' | 'external';
export type TrafficPolicy = 'cluster' | 'externalLocal' | 'internalLocal';
export type TrafficSetting =
  | 'detector'
  | 'noDetector'
  | 'masqueradeAll'
  | 'masqueradeAllNoDetector';

export type TrafficRow = {
  /** Ids of the contract. */
  readonly id: string;
  readonly setting: TrafficSetting;
  readonly source: TrafficSource;
  readonly destination: TrafficDestination;
  readonly policy: TrafficPolicy;
  /** `L` local endpoints, `R` remote ones. */
  readonly reaches: 'L+R' | 'L';
  readonly masquerade: boolean;
};

/** Columns: policy Cluster, externalTrafficPolicy Local, internalTrafficPolicy Local. */
type Line = readonly [
  id: string,
  source: TrafficSource,
  destination: TrafficDestination,
  cluster: Cell,
  externalLocal: Cell,
  internalLocal: Cell,
];
/** `m`: masqueraded. */
type Cell = 'L+R' | 'L+R m' | 'L' | 'L m';

const LINES: Readonly<Record<TrafficSetting, readonly Line[]>> = {
  detector: [
    ['[P57]', 'pod', 'clusterIP', 'L+R', 'L+R', 'L'],
    ['[P58]', 'pod', 'external', 'L+R m', 'L+R', 'L+R m'],
    ['[P59]', 'node', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P60]', 'node', 'external', 'L+R m', 'L+R m', 'L+R m'],
    ['[P61]', 'outside', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P62]', 'outside', 'external', 'L+R m', 'L', 'L+R m'],
  ],
  noDetector: [
    ['[P63]', 'pod', 'clusterIP', 'L+R', 'L+R', 'L'],
    ['[P63]', 'pod', 'external', 'L+R m', 'L', 'L+R m'],
    ['[P63]', 'node', 'clusterIP', 'L+R', 'L+R', 'L'],
    ['[P63]', 'node', 'external', 'L+R m', 'L+R m', 'L+R m'],
    ['[P63]', 'outside', 'clusterIP', 'L+R', 'L+R', 'L'],
    ['[P63]', 'outside', 'external', 'L+R m', 'L', 'L+R m'],
  ],
  masqueradeAll: [
    ['[P64]', 'pod', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P64]', 'pod', 'external', 'L+R m', 'L+R', 'L+R m'],
    ['[P64]', 'node', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P64]', 'node', 'external', 'L+R m', 'L+R m', 'L+R m'],
    ['[P64]', 'outside', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P64]', 'outside', 'external', 'L+R m', 'L', 'L+R m'],
  ],
  masqueradeAllNoDetector: [
    ['[P65]', 'pod', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P65]', 'pod', 'external', 'L+R m', 'L', 'L+R m'],
    ['[P65]', 'node', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P65]', 'node', 'external', 'L+R m', 'L+R m', 'L+R m'],
    ['[P65]', 'outside', 'clusterIP', 'L+R m', 'L+R m', 'L m'],
    ['[P65]', 'outside', 'external', 'L+R m', 'L', 'L+R m'],
  ],
};

/** Every cell of the table as a row of its own. */
export const trafficRows: readonly TrafficRow[] = Object.entries(LINES).flatMap(
  ([setting, lines]) =>
    lines.flatMap(([id, source, destination, ...cells]) =>
      cells.map((cell, column) => ({
        id,
        setting: setting as TrafficSetting,
        source,
        destination,
        policy: (['cluster', 'externalLocal', 'internalLocal'] as const)[column] ?? 'cluster',
        reaches: cell.startsWith('L+R') ? ('L+R' as const) : ('L' as const),
        masquerade: cell.endsWith('m'),
      })),
    ),
);
