/** Gives every node its part of the pod ranges, one per family (K28). */
import { keyOf, keyText } from '../api/meta.ts';
import { resources } from '../api/resources.ts';
import type { Node } from '../api/types.ts';
import type { Reconciler } from '../client/reconciler.ts';
import { UserError } from '../lib/errors.ts';
import { cidrsOverlap, formatCidr, parseCidr, subnetAt, type Cidr } from '../lib/ip.ts';
import { createReconciler, mergePatch, type Context } from './context.ts';

/** A range, and how long the prefix of one node's part is. */
export type PodRange = { readonly range: Cidr; readonly nodePrefixLength: number };

/** Starts the controller; runs are keyed by node. */
export function nodeIpamController(context: Context): Reconciler {
  const nodes = context.informers.of<Node>(resources.nodes);
  const ranges = context.options.podCidrs.map(parseRange);
  const recorder = context.recorder('cidrAllocator');

  // One at a time: two nodes must not be given the same part.
  const reconciler = createReconciler(context, 'node-ipam', async (key) => assign(key), 1);

  async function assign(key: string): Promise<void> {
    const node = nodes.get(key);
    if (node === undefined || ranges.length === 0 || (node.spec?.podCIDR ?? '') !== '') return;
    const taken = nodes.list().flatMap((other) => cidrsOf(other));
    const free = ranges.map((range) => firstFree(range, taken));
    const podCIDRs = free.filter((cidr) => cidr !== undefined).map(formatCidr);
    if (podCIDRs.length < ranges.length) {
      const message = 'No part of the pod range is free for this node';
      const reason = 'CIDRNotAvailable';
      recorder.record(resources.nodes, node, { type: 'Warning', reason, message });
      return;
    }
    await mergePatch(context, resources.nodes, node, { spec: { podCIDR: podCIDRs[0], podCIDRs } });
  }

  nodes.onChange((old, current) => {
    if (current !== undefined) {
      reconciler.add(keyText(keyOf(current)));
    } else if (old !== undefined) {
      for (const node of nodes.list()) reconciler.add(keyText(keyOf(node)));
    }
  });
  return reconciler;
}

function parseRange(option: { cidr: string; nodePrefixLength: number }): PodRange {
  const range = parseCidr(option.cidr);
  if (range === undefined || option.nodePrefixLength < range.prefixLength) {
    throw new UserError('BAD_POD_CIDR', `Cannot use pod range "${option.cidr}"`, {
      hint: `It must be a prefix no longer than /${option.nodePrefixLength}, a node's part`,
    });
  }
  return { range, nodePrefixLength: option.nodePrefixLength };
}

function cidrsOf(node: Node): Cidr[] {
  const { podCIDRs, podCIDR } = node.spec ?? {};
  return (podCIDRs ?? [podCIDR ?? ''])
    .map((text) => parseCidr(text))
    .filter((cidr) => cidr !== undefined);
}

/** The first part of the range that shares no address with those taken. */
export function firstFree(
  { range, nodePrefixLength }: PodRange,
  taken: readonly Cidr[],
): Cidr | undefined {
  // More parts than nodes in the range are never looked at.
  const parts = Math.min(2 ** (nodePrefixLength - range.prefixLength), taken.length + 1);
  for (let index = 0; index < parts; index += 1) {
    const part = subnetAt(range, nodePrefixLength, index);
    if (!taken.some((other) => other.family === part.family && cidrsOverlap(part, other))) {
      return part;
    }
  }
  return undefined;
}
