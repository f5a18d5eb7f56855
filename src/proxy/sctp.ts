/** Kernels may be built without tracking of SCTP connections; its packets then pass unchanged (P138). */
import { existsSync } from 'node:fs';
import type { Notice, ServicePlan } from '../plan/types.ts';

/** There is such a setting for each protocol that nf_conntrack knows. */
const SETTINGS = '/proc/sys/net/netfilter';

/** Whether this kernel can rewrite SCTP; until nf_conntrack is loaded nobody can tell. */
function kernelHasSctp(): boolean {
  if (!existsSync(`${SETTINGS}/nf_conntrack_max`)) return true;
  return existsSync(`${SETTINGS}/nf_conntrack_sctp_timeout_established`);
}

/** What to tell of a Service whose SCTP ports cannot work here. */
export function sctpNotices(
  plan: ServicePlan | undefined,
  hasSctp: () => boolean = kernelHasSctp,
): readonly Notice[] {
  const ports = (plan?.ports ?? []).filter(({ protocol }) => protocol === 'SCTP');
  if (ports.length === 0 || hasSctp()) return [];
  const names = [...new Set(ports.map(({ frontends }) => frontends[0]?.port))].join(', ');
  const message = `this kernel does not track SCTP connections (it needs NF_CT_PROTO_SCTP): ports ${names} do not work`;
  return [{ type: 'Warning', reason: 'SctpNotSupported', message }];
}
