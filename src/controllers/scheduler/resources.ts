/** What pods ask for and what nodes have, as numbers. */
import { quantityNanos } from '../../api/quantity.ts';
import type { Container, Node, Pod } from '../../api/types.ts';

/** By resource name, in billionths of its unit (cores, bytes, pods). */
export type Amounts = Record<string, bigint>;

/** Each decision asks for every pod there is, and objects never change. */
const known = new WeakMap<Pod['spec'], Amounts>();

/** The sum of the containers, but at least the largest init container; sidecars count always. */
export function requestsOf(pod: Pod): Readonly<Amounts> {
  const held = known.get(pod.spec);
  if (held !== undefined) return held;
  const sum = sumRequests(pod);
  known.set(pod.spec, sum);
  return sum;
}

function sumRequests(pod: Pod): Amounts {
  const total: Amounts = {};
  for (const container of pod.spec.containers) add(total, requested(container));
  const sidecars: Amounts = {};
  const peak: Amounts = {};
  for (const container of pod.spec.initContainers ?? []) {
    const own = requested(container);
    if (container.restartPolicy === 'Always') {
      add(total, own);
      add(sidecars, own);
      raise(peak, sidecars);
    } else {
      const together = { ...sidecars };
      add(together, own);
      raise(peak, together);
    }
  }
  raise(total, peak);
  const { overhead } = pod.spec as { overhead?: Record<string, string> };
  add(total, amounts(overhead ?? {}));
  return total;
}

function requested(container: Container): Amounts {
  return amounts(container.resources?.requests ?? {});
}

function amounts(quantities: Record<string, string | number>): Amounts {
  return Object.fromEntries(
    Object.entries(quantities).map(([name, text]) => [name, quantityNanos(String(text)) ?? 0n]),
  );
}

export function add(total: Amounts, more: Readonly<Amounts>): void {
  for (const [name, amount] of Object.entries(more)) total[name] = (total[name] ?? 0n) + amount;
}

function raise(total: Amounts, least: Amounts): void {
  for (const [name, amount] of Object.entries(least)) {
    if (amount > (total[name] ?? 0n)) total[name] = amount;
  }
}

/** What pods may use; a node that says nothing has no limit. */
export function allocatableOf(node: Node): Amounts | undefined {
  const said = node.status?.allocatable ?? node.status?.capacity;
  return said === undefined ? undefined : amounts(said);
}

/** The resources the node has too little of. */
export function lacking(node: Node, used: Readonly<Amounts>, wanted: Amounts): string[] {
  const has = allocatableOf(node);
  if (has === undefined) return [];
  return Object.entries(wanted)
    .filter(([name, amount]) => amount > 0n && (used[name] ?? 0n) + amount > (has[name] ?? 0n))
    .map(([name]) => name);
}

/** The fuller of cpu and memory after the pod is there, between 0 and 1. */
export function fullness(node: Node, used: Readonly<Amounts>, wanted: Amounts): number {
  const has = allocatableOf(node) ?? {};
  const shares = ['cpu', 'memory'].map((name) => {
    const all = Number(has[name] ?? 0n);
    return all === 0 ? 0 : Number((used[name] ?? 0n) + (wanted[name] ?? 0n)) / all;
  });
  return Math.min(1, Math.max(...shares));
}
