/** Nodes as balancers see them. */
import type { EndpointSlice, Node } from '../api/types.ts';

/** A machine that Services may be balanced over. */
export type BalancedNode = {
  readonly name: string;
  readonly ips: readonly string[];
  readonly podCidrs: readonly string[];
  /** Cordoned: about to be drained, as a rule. */
  readonly leaving: boolean;
};

/** Whoever carries this label takes no traffic of balancers (KEP-1143). */
const excludeLabel = 'node.kubernetes.io/exclude-from-external-load-balancers';
const leavingTaint = 'ToBeDeletedByClusterAutoscaler';

/** The machine behind a Node; undefined when balancers must leave it alone. */
export function balancedNode(node: Node): BalancedNode | undefined {
  const { name, labels, deletionTimestamp } = node.metadata;
  if (labels?.[excludeLabel] !== undefined || deletionTimestamp !== undefined) return undefined;
  if (node.spec?.taints?.some(({ key }) => key === leavingTaint)) return undefined;
  const ips = (node.status?.addresses ?? [])
    .filter(({ type }) => type === 'InternalIP')
    .map(({ address }) => address);
  const podCidrs = node.spec?.podCIDRs ?? [];
  const leaving = node.spec?.unschedulable === true;
  return ips.length === 0 ? undefined : { name, ips, podCidrs, leaving };
}

/** Whether the Service of the slices has an endpoint on the node. */
export function hasEndpoint(
  slices: readonly EndpointSlice[],
  node: string,
  state: 'ready' | 'serving',
): boolean {
  return slices.some(({ endpoints }) =>
    endpoints.some(({ nodeName, conditions = {} }) => {
      const { ready = true, serving = ready } = conditions;
      return nodeName === node && (state === 'ready' ? ready : serving);
    }),
  );
}
