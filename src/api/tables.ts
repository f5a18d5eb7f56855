/** What `kubectl get` prints, made by the server (A25-A27, A119-A122). */
import type { Condition, KubeObject } from './meta.ts';
import type { Resource } from './resources.ts';
import { podTable } from './tables/pod.ts';
import { endpointSliceTable, endpointsTable, serviceTable } from './tables/service.ts';
import * as small from './tables/small.ts';
import * as workloads from './tables/workloads.ts';

export type Cell = string | number;

export type Column = {
  name: string;
  type: 'string' | 'integer' | 'date';
  format: string;
  description: string;
  priority: number;
};

export type Row = { cells: Cell[]; conditions?: Condition[] };

/**
 * How one kind prints. `columns` are separated by commas; a `*` marks one that only `-o wide` shows,
 * a `#` one whose cells are numbers.
 */
export type Printer = {
  readonly columns: string;
  readonly cells: (object: never, now: number) => Cell[];
  readonly conditions?: (object: never) => Condition[] | undefined;
};

const printers: Record<string, Printer> = {
  '/pods': podTable,
  '/services': serviceTable,
  '/endpoints': endpointsTable,
  '/nodes': small.nodeTable,
  '/namespaces': small.namespaceTable,
  '/configmaps': small.configMapTable,
  '/secrets': small.secretTable,
  '/serviceaccounts': small.serviceAccountTable,
  '/events': small.eventTable,
  'discovery.k8s.io/endpointslices': endpointSliceTable,
  'apps/deployments': workloads.deploymentTable,
  'apps/replicasets': workloads.replicaSetTable,
  'apps/statefulsets': workloads.statefulSetTable,
  'apps/controllerrevisions': small.controllerRevisionTable,
  'coordination.k8s.io/leases': small.leaseTable,
};

/** A kind without columns of its own (A25). */
const plain: Printer = {
  columns: 'Name,Created At',
  cells: ({ metadata }: KubeObject) => [metadata.name, metadata.creationTimestamp ?? ''],
};

const columnsOf = new Map<Printer, Column[]>();

/** Columns and one row per object; the caller adds `object` to each row as includeObject asks. */
export function tableFor(
  resource: Resource,
  objects: readonly KubeObject[],
  { now }: { now: number },
): { columnDefinitions: Column[]; rows: Row[] } {
  const printer = printers[`${resource.group}/${resource.resource}`] ?? plain;
  return {
    columnDefinitions: columnDefinitions(printer),
    rows: objects.map((object) => {
      const cells = printer.cells(object as never, now);
      const conditions = printer.conditions?.(object as never);
      return conditions === undefined ? { cells } : { cells, conditions };
    }),
  };
}

function columnDefinitions(printer: Printer): Column[] {
  let columns = columnsOf.get(printer);
  if (columns === undefined) {
    columns = printer.columns.split(',').map(columnOf);
    columnsOf.set(printer, columns);
  }
  return columns;
}

/** What explains itself worse than its title. */
const descriptions: Record<string, string> = {
  Age: 'Time since the object was created.',
  Name: 'Name of the object, unique in its namespace.',
  Ready: 'How many are ready, of how many.',
  Restarts: 'How often the containers of this pod were restarted.',
  Selector: 'Labels that choose the pods.',
};

function columnOf(text: string): Column {
  const name = text.replace(/[*#]/g, '');
  return {
    name,
    type: text.includes('#') ? 'integer' : name === 'Created At' ? 'date' : 'string',
    format: name === 'Name' ? 'name' : '',
    description: descriptions[name] ?? `${name} of the object.`,
    priority: text.includes('*') ? 1 : 0,
  };
}
