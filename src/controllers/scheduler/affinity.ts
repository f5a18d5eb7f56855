/** The terms by which a pod chooses its neighbours and nodes, as the API writes them. */
import type { LabelSelector } from '../../api/meta.ts';
import { matchesLabels, type LabelRequirement } from '../../api/selectors.ts';
import type { Node, Pod, Taint, Toleration } from '../../api/types.ts';

type Requirement = { key: string; operator: LabelRequirement['operator']; values?: string[] };

export type NodeSelectorTerm = {
  matchExpressions?: Requirement[];
  matchFields?: Requirement[];
};

export type PodAffinityTerm = {
  labelSelector?: LabelSelector;
  namespaces?: string[];
  namespaceSelector?: LabelSelector;
  topologyKey: string;
  matchLabelKeys?: string[];
  mismatchLabelKeys?: string[];
};

export type Affinity = {
  nodeAffinity?: {
    requiredDuringSchedulingIgnoredDuringExecution?: { nodeSelectorTerms?: NodeSelectorTerm[] };
    preferredDuringSchedulingIgnoredDuringExecution?: {
      weight: number;
      preference: NodeSelectorTerm;
    }[];
  };
  podAffinity?: PodAffinity;
  podAntiAffinity?: PodAffinity;
};

export type PodAffinity = {
  requiredDuringSchedulingIgnoredDuringExecution?: PodAffinityTerm[];
  preferredDuringSchedulingIgnoredDuringExecution?: {
    weight: number;
    podAffinityTerm: PodAffinityTerm;
  }[];
};

export type SpreadConstraint = {
  maxSkew: number;
  topologyKey: string;
  whenUnsatisfiable: 'DoNotSchedule' | 'ScheduleAnyway';
  labelSelector?: LabelSelector;
  minDomains?: number;
  matchLabelKeys?: string[];
};

export function affinityOf(pod: Pod): Affinity {
  return pod.spec.affinity ?? {};
}

export function spreadConstraintsOf(pod: Pod): SpreadConstraint[] {
  const spec = pod.spec as { topologySpreadConstraints?: SpreadConstraint[] };
  return spec.topologySpreadConstraints ?? [];
}

/** Whether the node meets the term; a term that asks nothing selects nothing. */
export function matchesTerm(term: NodeSelectorTerm, node: Node): boolean {
  const { matchExpressions = [], matchFields = [] } = term;
  if (matchExpressions.length + matchFields.length === 0) return false;
  return (
    matchesLabels(requirements(matchExpressions), node.metadata.labels) &&
    matchesLabels(requirements(matchFields), { 'metadata.name': node.metadata.name })
  );
}

function requirements(list: Requirement[]): LabelRequirement[] {
  return list.map(({ key, operator, values = [] }) => ({ key, operator, values }));
}

/** nodeSelector and required node affinity. */
export function wantsNode(pod: Pod, node: Node): boolean {
  const { nodeSelector = {} } = pod.spec;
  const labels = node.metadata.labels ?? {};
  if (!Object.entries(nodeSelector).every(([key, value]) => labels[key] === value)) return false;
  const required = affinityOf(pod).nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution;
  if (required === undefined) return true;
  return (required.nodeSelectorTerms ?? []).some((term) => matchesTerm(term, node));
}

/** The first taint that keeps the pod away, by the given effects. */
export function untolerated(
  pod: Pod,
  taints: readonly Taint[],
  effects: readonly Taint['effect'][],
): Taint | undefined {
  return taints.find(
    (taint) =>
      effects.includes(taint.effect) &&
      !(pod.spec.tolerations ?? []).some((toleration) => tolerates(toleration, taint)),
  );
}

/** Whether the toleration answers the taint; an empty key with Exists answers all. */
export function tolerates(toleration: Toleration, taint: Taint): boolean {
  const { key = '', operator = 'Equal', value = '', effect = '' } = toleration;
  if (effect !== '' && effect !== taint.effect) return false;
  if (key !== '' && key !== taint.key) return false;
  if (operator === 'Exists') return true;
  return key !== '' && value === (taint.value ?? '');
}
