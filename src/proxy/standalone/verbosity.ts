/** The level of our log for a klog verbosity: 4 and more is for debugging, 6 and more for tracing. */
export function levelOf(verbosity: number): 'info' | 'debug' | 'trace' {
  if (verbosity >= 6) return 'trace';
  return verbosity >= 4 ? 'debug' : 'info';
}
