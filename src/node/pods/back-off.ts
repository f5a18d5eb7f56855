/** How long a container that keeps ending waits before it starts again (K17). */

/** A kubelet's figures: 10 s doubling to 5 min, forgotten after 10 min of running. */
const firstMs = 10_000;
const longestMs = 300_000;
const forgetAfterMs = 600_000;

export type BackOff = { readonly delayMs: number };

/** The first restart is at once; every further one waits `delayMs` from the moment of the exit. */
export function nextBackOff(last: BackOff | undefined, ranMs: number): BackOff {
  if (last === undefined || ranMs >= forgetAfterMs) return { delayMs: 0 };
  return { delayMs: Math.min(longestMs, last.delayMs === 0 ? firstMs : last.delayMs * 2) };
}

/** `10s`, `2m40s`, `5m0s`, as Go prints a duration. */
export function formatDelay(ms: number): string {
  const seconds = Math.round(ms / 1000);
  return seconds < 60 ? `${seconds}s` : `${Math.floor(seconds / 60)}m${seconds % 60}s`;
}
