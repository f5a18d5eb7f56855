/** How a command tells a person what went wrong. */
import { messageOf, NotSupported, UserError, WorldError } from '../lib/errors.ts';

/** Prints the error on standard error; returns the exit code: 2 where a person can fix it, else 1. */
export function reportError(error: unknown): number {
  if (error instanceof UserError) {
    console.error(error.message);
    if (error.hint !== undefined) console.error(`  ${error.hint}  [${error.code}]`);
    else console.error(`  [${error.code}]`);
    return 2;
  }
  if (error instanceof WorldError || error instanceof NotSupported) {
    console.error(`${error.message}  [${error.code}]`);
    if (error.cause !== undefined) console.error(`  ${messageOf(error.cause)}`);
    return 1;
  }
  console.error(error);
  return 1;
}
