/** The postStart and preStop hooks of a container (K20). */
import type { LifecycleHandler } from '../../api/types.ts';
import type { Clock } from '../../lib/clock.ts';
import { check, type CheckResult, type CheckTarget } from '../probes/check.ts';

/** A hook may take as long as it wants; what bounds preStop is the pod's grace period. */
const hookTimeoutMs = 24 * 3600 * 1000;

/** Never rejects. */
export async function runHook(
  handler: LifecycleHandler,
  target: CheckTarget,
  clock: Clock,
): Promise<CheckResult> {
  if (handler.sleep === undefined) return check(handler, target, hookTimeoutMs);
  const { promise, resolve } = Promise.withResolvers<void>();
  clock.after(handler.sleep.seconds * 1000, resolve);
  await promise;
  return { ok: true, output: '' };
}
