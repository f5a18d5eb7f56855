/** Whether the kernel is one that nftables mode is known to work on (P117). */
import { NotSupported } from '../../lib/errors.ts';

/** As kube-proxy's. */
const MINIMUM = [5, 13] as const;
/** For a kernel that has the features backported under an old number. */
const SKIP_VARIABLE = 'FAIRLEAD_SKIP_KERNEL_CHECK';

/** Throws `NotSupported` for a kernel that is too old. `release` is what `uname -r` prints. */
export function checkKernelVersion(release: string, env: NodeJS.ProcessEnv = process.env): void {
  if ((env[SKIP_VARIABLE] ?? '') !== '') return;
  const parts = /^(\d+)\.(\d+)/.exec(release);
  if (parts === null) return;
  const [major, minor] = [Number(parts[1]), Number(parts[2])];
  if (major > MINIMUM[0] || (major === MINIMUM[0] && minor >= MINIMUM[1])) return;
  throw new NotSupported(
    `nftables mode on Linux ${release}`,
    `Linux ${MINIMUM.join('.')}, or ${SKIP_VARIABLE}=1 where the features are backported`,
  );
}
