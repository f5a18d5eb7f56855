/** What the processes of a lab share: their arguments, and how they end when they cannot begin. */
import { parseArgs } from 'node:util';
import { messageOf, UserError } from '../lib/errors.ts';
import type { LabPaths } from '../lab/paths.ts';
import { reportError } from './report-error.ts';

/** EX_CONFIG of sysexits.h: starting again would not help, so the supervisor does not. */
const hopeless = 78;

export function parseComponentArgs(args: string[]): { paths: LabPaths; node: string } {
  const { values } = parseArgs({
    args,
    options: { state: { type: 'string' }, runtime: { type: 'string' }, node: { type: 'string' } },
  });
  const { state, runtime, node = '' } = values;
  if (state === undefined || runtime === undefined) {
    throw new UserError(
      'BAD_FLAG',
      'Cannot start a component: --state and --runtime name the directories of a lab',
      { hint: 'fairlead up starts it as it must be' },
    );
  }
  return { paths: { state, runtime }, node };
}

/** Runs a component; what a person must mend ends the process for good. */
export async function runComponent(name: string, work: () => Promise<void>): Promise<void> {
  try {
    await work();
  } catch (error) {
    if (process.stderr.isTTY) process.exit(reportError(error));
    const { createLogger } = await import('../lib/log.ts');
    const facts =
      error instanceof UserError
        ? { code: error.code, hint: error.hint }
        : { stack: error instanceof Error ? error.stack : undefined };
    createLogger(name).fatal({ error: messageOf(error), ...facts }, 'cannot start');
    process.exit(error instanceof UserError ? hopeless : 1);
  }
}
