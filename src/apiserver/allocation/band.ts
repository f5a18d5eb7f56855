/**
 * How much of a range is kept for values people choose themselves, so that automatic picks rarely
 * collide with them: a share of the size, within bounds; nothing of a range smaller than the least.
 */
export function staticBandSize(
  size: number,
  share: { readonly divisor: number; readonly min: number; readonly max: number },
): number {
  if (size <= share.min) return 0;
  return Math.min(Math.max(Math.floor(size / share.divisor), share.min), share.max);
}
