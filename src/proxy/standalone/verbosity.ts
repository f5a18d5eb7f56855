/** How much is logged: klog's verbosity to the levels of our log. */
import { UserError } from '../../lib/errors.ts';

const LEVELS = ['trace', 'debug', 'info', 'warn', 'error', 'fatal', 'silent'];

/** 4 and more is for debugging, 6 and more for tracing. */
export function levelOf(verbosity: number): string {
  if (verbosity >= 6) return 'trace';
  return verbosity >= 4 ? 'debug' : 'info';
}

/** What FAIRLEAD_LOG says, or else the verbosity. Throws `UserError` for a level that there is not. */
export function chooseLevel(verbosity: number, env: NodeJS.ProcessEnv = process.env): string {
  const asked = env.FAIRLEAD_LOG ?? '';
  if (asked === '') return levelOf(verbosity);
  if (LEVELS.includes(asked)) return asked;
  const text = `Cannot log at level "${asked}": FAIRLEAD_LOG must be one of ${LEVELS.join(', ')}`;
  throw new UserError('BAD_FLAG', text);
}
