/** Chooses a node for a pod: pure. Filters say why not, scores say how well (K26, K27). */
import type { LabelSelector } from '../../api/meta.ts';
import { selects } from '../../api/selectors.ts';
import type { Node, Pod, Taint } from '../../api/types.ts';
import { controllerUid } from '../pod-control.ts';
import { isActive } from '../pods.ts';
import {
  affinityOf,
  matchesTerm,
  spreadConstraintsOf,
  untolerated,
  wantsNode,
  type PodAffinityTerm,
  type SpreadConstraint,
} from './affinity.ts';
import { add, fullness, lacking, requestsOf, type Amounts } from './resources.ts';

/** A node and the pods that are on it, or on their way to it. */
export type Seat = { readonly node: Node; readonly pods: readonly Pod[] };

export type Surroundings = {
  readonly seats: readonly Seat[];
  /** The labels of a namespace, for namespaceSelector. */
  readonly namespaceLabels: (name: string) => Record<string, string> | undefined;
};

/** Either the node's name, or the reason for each node with how many nodes it holds for. */
export type Placement =
  | { readonly kind: 'fits'; readonly nodeName: string }
  | { readonly kind: 'nowhere'; readonly message: string };

const hardEffects: Taint['effect'][] = ['NoSchedule', 'NoExecute'];

/** Where the pod goes. `random` decides between nodes that are equally good. */
export function placePod(pod: Pod, around: Surroundings, random: () => number): Placement {
  const requests = { ...requestsOf(pod), pods: 1_000_000_000n };
  const reasons: string[] = [];
  const fitting: Seat[] = [];
  for (const seat of around.seats) {
    const found = reasonsAgainst(pod, seat, { around, requests });
    if (found.length === 0) fitting.push(seat);
    else reasons.push(...found);
  }
  if (fitting.length === 0) return { kind: 'nowhere', message: nowhere(around, reasons) };
  const scored = fitting.map((seat) => ({ seat, score: scoreOf(pod, seat, { around, requests }) }));
  const best = Math.max(...scored.map(({ score }) => score));
  const equals = scored.filter(({ score }) => score === best);
  const chosen = equals[Math.floor(random() * equals.length)] ?? equals[0]!;
  return { kind: 'fits', nodeName: chosen.seat.node.metadata.name };
}

/** `0/3 nodes are available: 1 node(s) were unschedulable, 2 Insufficient cpu.` */
function nowhere(around: Surroundings, reasons: string[]): string {
  const counts = Map.groupBy(reasons, (reason) => reason);
  const texts = [...counts].map(([reason, all]) => `${all.length} ${reason}`).sort();
  const head = `0/${around.seats.length} nodes are available`;
  return texts.length === 0 ? `${head}.` : `${head}: ${texts.join(', ')}.`;
}

type Look = { readonly around: Surroundings; readonly requests: Amounts };

/** Why the pod cannot go there; the texts are kube-scheduler's. */
function reasonsAgainst(pod: Pod, seat: Seat, { around, requests }: Look): string[] {
  const { node } = seat;
  const { unschedulable = false, taints = [] } = node.spec ?? {};
  const cordon: Taint = { key: 'node.kubernetes.io/unschedulable', effect: 'NoSchedule' };
  if (unschedulable && untolerated(pod, [cordon], hardEffects) !== undefined) {
    return ['node(s) were unschedulable'];
  }
  const taint = untolerated(pod, taints, hardEffects);
  if (taint !== undefined) {
    return [`node(s) had untolerated taint {${taint.key}: ${taint.value ?? ''}}`];
  }
  if (!wantsNode(pod, node)) return ["node(s) didn't match Pod's node affinity/selector"];
  if (hasPortConflict(pod, seat)) {
    return ["node(s) didn't have free ports for the requested pod ports"];
  }
  const scarce = lacking(node, usedOn(seat), requests);
  if (scarce.length > 0) {
    return scarce.map((name) => (name === 'pods' ? 'Too many pods' : `Insufficient ${name}`));
  }
  return [spreadProblem(pod, seat, around), neighbourProblem(pod, seat, around)].filter(
    (reason) => reason !== undefined,
  );
}

/** Every pod that waits asks the same of each seat. */
const usedBySeat = new WeakMap<Seat, Readonly<Amounts>>();

function usedOn(seat: Seat): Readonly<Amounts> {
  const held = usedBySeat.get(seat);
  if (held !== undefined) return held;
  const used: Amounts = {};
  for (const pod of seat.pods) {
    add(used, requestsOf(pod));
    add(used, { pods: 1_000_000_000n });
  }
  usedBySeat.set(seat, used);
  return used;
}

type HostPort = { ip: string; protocol: string; port: number };

function hostPortsOf(pod: Pod): HostPort[] {
  return [...pod.spec.containers, ...(pod.spec.initContainers ?? [])].flatMap((container) =>
    (container.ports ?? []).flatMap(({ hostPort = 0, hostIP = '', protocol = 'TCP' }) =>
      hostPort > 0 ? [{ ip: hostIP, protocol, port: hostPort }] : [],
    ),
  );
}

function hasPortConflict(pod: Pod, seat: Seat): boolean {
  const wanted = hostPortsOf(pod);
  if (wanted.length === 0) return false;
  const taken = seat.pods.flatMap(hostPortsOf);
  const anyIp = (ip: string) => ip === '' || ip === '0.0.0.0' || ip === '::';
  return wanted.some((own) =>
    taken.some(
      (other) =>
        own.port === other.port &&
        own.protocol === other.protocol &&
        (own.ip === other.ip || anyIp(own.ip) || anyIp(other.ip)),
    ),
  );
}

function topologyOf(seat: Seat, key: string): string | undefined {
  return seat.node.metadata.labels?.[key];
}

/** The pods of every node in the same zone, rack or host as this one. */
function podsInDomain(seat: Seat, key: string, around: Surroundings): Pod[] {
  const domain = topologyOf(seat, key);
  if (domain === undefined) return [];
  return around.seats.filter((other) => topologyOf(other, key) === domain).flatMap((s) => s.pods);
}

/** `owner` is the pod that carries the term; its namespace is meant when the term names none. */
function termSelects(
  term: PodAffinityTerm,
  { owner, other, around }: { owner: Pod; other: Pod; around: Surroundings },
): boolean {
  const namespace = other.metadata.namespace ?? '';
  const { namespaces = [], namespaceSelector } = term;
  const inNamespace =
    namespaces.length === 0 && namespaceSelector === undefined
      ? namespace === owner.metadata.namespace
      : namespaces.includes(namespace) ||
        selects(namespaceSelector, around.namespaceLabels(namespace));
  const selector = withLabelKeys(term.labelSelector, owner, term);
  return inNamespace && isActive(other) && selects(selector, other.metadata.labels);
}

/** matchLabelKeys: only pods with the same value as the owner, such as of the same revision. */
function withLabelKeys(
  selector: LabelSelector | undefined,
  owner: Pod,
  keys: { matchLabelKeys?: string[]; mismatchLabelKeys?: string[] },
): LabelSelector | undefined {
  if (selector === undefined) return undefined;
  const terms = (names: string[] | undefined, operator: 'In' | 'NotIn') =>
    (names ?? []).flatMap((key) => {
      const value = owner.metadata.labels?.[key];
      return value === undefined ? [] : [{ key, operator, values: [value] }];
    });
  const more = [...terms(keys.matchLabelKeys, 'In'), ...terms(keys.mismatchLabelKeys, 'NotIn')];
  return { ...selector, matchExpressions: [...(selector.matchExpressions ?? []), ...more] };
}

function neighbourProblem(pod: Pod, seat: Seat, around: Surroundings): string | undefined {
  const { podAffinity, podAntiAffinity } = affinityOf(pod);
  const wanted = podAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  if (!wanted.every((term) => hasNeighbour(term, { pod, seat, around }))) {
    return "node(s) didn't match pod affinity rules";
  }
  const unwanted = podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
  const clashes = unwanted.some((term) =>
    podsInDomain(seat, term.topologyKey, around).some((other) =>
      termSelects(term, { owner: pod, other, around }),
    ),
  );
  if (clashes) return "node(s) didn't match pod anti-affinity rules";
  if (isUnwanted(pod, seat, around)) {
    return "node(s) didn't satisfy existing pods anti-affinity rules";
  }
  return undefined;
}

/** The first pod of a group that wants its own kind near has nobody to be near yet. */
function hasNeighbour(
  term: PodAffinityTerm,
  { pod, seat, around }: { pod: Pod; seat: Seat; around: Surroundings },
): boolean {
  if (topologyOf(seat, term.topologyKey) === undefined) return false;
  const isMeant = (other: Pod) => termSelects(term, { owner: pod, other, around });
  if (podsInDomain(seat, term.topologyKey, around).some(isMeant)) return true;
  return isMeant(pod) && !around.seats.some((other) => other.pods.some(isMeant));
}

/** Whether a pod that is there already wants none like this one near. */
function isUnwanted(pod: Pod, seat: Seat, around: Surroundings): boolean {
  return around.seats.some((there) =>
    there.pods.some((owner) => {
      const terms =
        affinityOf(owner).podAntiAffinity?.requiredDuringSchedulingIgnoredDuringExecution ?? [];
      return terms.some((term) => {
        const domain = topologyOf(seat, term.topologyKey);
        if (domain === undefined || domain !== topologyOf(there, term.topologyKey)) return false;
        return termSelects(term, { owner, other: pod, around });
      });
    }),
  );
}

function spreadProblem(pod: Pod, seat: Seat, around: Surroundings): string | undefined {
  for (const constraint of spreadConstraintsOf(pod)) {
    if (constraint.whenUnsatisfiable !== 'DoNotSchedule') continue;
    if (topologyOf(seat, constraint.topologyKey) === undefined) {
      return "node(s) didn't match pod topology spread constraints (missing required label)";
    }
    if (skewAt(constraint, { pod, seat, around }) > constraint.maxSkew) {
      return "node(s) didn't match pod topology spread constraints";
    }
  }
  return undefined;
}

/** How far the seat's domain would stand above the emptiest one. */
function skewAt(
  constraint: SpreadConstraint,
  { pod, seat, around }: { pod: Pod; seat: Seat; around: Surroundings },
): number {
  const { topologyKey, minDomains = 1 } = constraint;
  const selector = withLabelKeys(constraint.labelSelector, pod, constraint);
  const isMeant = (other: Pod) =>
    other.metadata.namespace === pod.metadata.namespace &&
    isActive(other) &&
    selects(selector, other.metadata.labels);
  const counts = new Map<string, number>();
  for (const other of around.seats) {
    const domain = topologyOf(other, topologyKey);
    if (domain === undefined || !wantsNode(pod, other.node)) continue;
    counts.set(domain, (counts.get(domain) ?? 0) + other.pods.filter(isMeant).length);
  }
  const least = counts.size < minDomains ? 0 : Math.min(...counts.values());
  const own = counts.get(topologyOf(seat, topologyKey) ?? '') ?? 0;
  return own + (isMeant(pod) ? 1 : 0) - least;
}

/** Weights as far apart as needed for one wish to come before the next. */
function scoreOf(pod: Pod, seat: Seat, { around, requests }: Look): number {
  const { node } = seat;
  const { nodeAffinity } = affinityOf(pod);
  const liked = (nodeAffinity?.preferredDuringSchedulingIgnoredDuringExecution ?? [])
    .filter(({ preference }) => matchesTerm(preference, node))
    .reduce((sum, { weight }) => sum + weight, 0);
  const soft =
    untolerated(pod, node.spec?.taints ?? [], ['PreferNoSchedule']) === undefined ? 0 : 1;
  const skew = spreadConstraintsOf(pod)
    .filter((constraint) => constraint.whenUnsatisfiable === 'ScheduleAnyway')
    .reduce((sum, constraint) => sum + skewAt(constraint, { pod, seat, around }), 0);
  const usage = fullness(node, usedOn(seat), requests);
  return (
    liked * 10 -
    soft * 300 +
    neighbourScore(pod, seat, around) * 10 -
    skew * 200 -
    siblingsOn(pod, seat) * 100 -
    usage * 50 -
    seat.pods.length
  );
}

/** Pods of the same owner: replicas are spread over nodes. */
function siblingsOn(pod: Pod, seat: Seat): number {
  const owner = controllerUid(pod);
  if (owner === undefined) return 0;
  return seat.pods.filter((other) => controllerUid(other) === owner && isActive(other)).length;
}

function neighbourScore(pod: Pod, seat: Seat, around: Surroundings): number {
  const { podAffinity, podAntiAffinity } = affinityOf(pod);
  const sum = (terms: { weight: number; podAffinityTerm: PodAffinityTerm }[] = []) =>
    terms.reduce((total, { weight, podAffinityTerm: term }) => {
      const near = podsInDomain(seat, term.topologyKey, around).filter((other) =>
        termSelects(term, { owner: pod, other, around }),
      );
      return total + weight * near.length;
    }, 0);
  return (
    sum(podAffinity?.preferredDuringSchedulingIgnoredDuringExecution) -
    sum(podAntiAffinity?.preferredDuringSchedulingIgnoredDuringExecution)
  );
}
