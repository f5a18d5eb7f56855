/** How traffic from pods of this node is told from other traffic (P66). Pure. */
import type { Node } from '../api/types.ts';
import { familyOf, parseCidr, type IpFamily } from '../lib/ip.ts';
import { UserError } from '../lib/errors.ts';
import { normalCidr } from '../plan/address.ts';
import type { PlanOptions } from '../plan/types.ts';
import type { DetectLocal } from './options.ts';

export type Detection = Pick<PlanOptions, 'podCidrs' | 'podInterface'> & {
  /** Families in which pods cannot be told from others, in words. */
  readonly warnings: readonly string[];
};

/** What of the node decides. */
export type DetectionFacts = {
  readonly nodeIPs: readonly string[];
  /** `spec.podCIDRs` of the Node; empty while none are allocated. */
  readonly nodePodCidrs: readonly string[];
};

/**
 * What the rules look for. Throws `UserError` where prefixes are given and none can ever match:
 * all of the wrong family, on a node of one family or in mode NodeCIDR.
 */
export function planDetection(detect: DetectLocal, facts: DetectionFacts): Detection {
  if (detect.mode === 'BridgeInterface') return byInterface('name', detect.bridge, detect.mode);
  if (detect.mode === 'InterfaceNamePrefix') {
    return byInterface('prefix', detect.prefix, detect.mode);
  }
  const cidrs = detect.mode === 'NodeCIDR' ? facts.nodePodCidrs : detect.cidrs;
  return byPrefix(detect.mode, cidrs, facts.nodeIPs);
}

/** Ranges of the pods of a node; none while it was given none. */
export function podCidrsOf(node: Node | undefined): readonly string[] {
  const { podCIDR, podCIDRs } = node?.spec ?? {};
  if (podCIDRs !== undefined && podCIDRs.length > 0) return podCIDRs;
  return podCIDR === undefined || podCIDR === '' ? [] : [podCIDR];
}

function byInterface(kind: 'name' | 'prefix', text: string, mode: string): Detection {
  if (text !== '') return { podCidrs: [], podInterface: { kind, text }, warnings: [] };
  const warning = `mode ${mode} names no interface: pods are not told from other sources`;
  return { podCidrs: [], warnings: [warning] };
}

function byPrefix(
  mode: 'NodeCIDR' | 'ClusterCIDR',
  texts: readonly string[],
  nodeIPs: readonly string[],
): Detection {
  const families = [...new Set(nodeIPs.flatMap((address) => familyOf(address) ?? []))];
  const podCidrs: string[] = [];
  const warnings: string[] = [];
  for (const family of families) {
    const first = texts.map((text) => normalCidr(text)).find((cidr) => isOf(family, cidr));
    if (first !== undefined) podCidrs.push(first);
    else warnings.push(`mode ${mode} has no ${family} prefix: ${family} pods are not told apart`);
  }
  const hopeless = texts.length > 0 && podCidrs.length === 0;
  if (hopeless && (mode === 'NodeCIDR' || families.length === 1)) {
    throw new UserError(
      'DETECT_LOCAL',
      `Cannot tell pods from other sources by mode ${mode}: none of ${texts.join(', ')} is of a family of the node`,
      { hint: `The node has ${nodeIPs.join(', ')}: give a prefix of the same family` },
    );
  }
  return { podCidrs, warnings };
}

function isOf(family: IpFamily, cidr: string | undefined): boolean {
  return cidr !== undefined && parseCidr(cidr)?.family === family;
}
