/**
 * The three kinds of error, never mixed (docs/errors.md lists every code).
 *
 * 1. A bug: `assert` fails and the process stops.
 * 2. The world said no: a typed error with a `code`, what was tried and what came back.
 * 3. The person can fix it: `UserError`, with a hint.
 */

/** Stops on a broken invariant: a bug of ours, never bad input or a refusal of the kernel. */
export function assert(condition: unknown, message: string): asserts condition {
  if (!condition) throw new AssertionError(message);
}

/** A bug of ours. Nothing catches it but the outermost handler. */
export class AssertionError extends Error {
  override name = 'AssertionError';
}

/** Something outside answered no: the kernel, the disk, the network. `code` stands in docs/errors.md. */
export class WorldError extends Error {
  override name = 'WorldError';
  readonly code: string;

  constructor(code: string, message: string, options: { cause?: unknown } = {}) {
    super(message, options);
    this.code = code;
  }
}

/** Something the person at the keyboard can mend; the CLI prints message, hint and code. */
export class UserError extends Error {
  override name = 'UserError';
  readonly code: string;
  readonly hint: string | undefined;

  constructor(code: string, message: string, options: { hint?: string; cause?: unknown } = {}) {
    super(message, { cause: options.cause });
    this.code = code;
    this.hint = options.hint;
  }
}

/** The running kernel lacks a feature; `needs` names it and the version that brought it. */
export class NotSupported extends Error {
  override name = 'NotSupported';
  readonly code = 'NOT_SUPPORTED';
  readonly needs: string;

  constructor(feature: string, needs: string) {
    super(`Cannot use ${feature}: this kernel lacks it, it needs ${needs}`);
    this.needs = needs;
  }
}

/** The text of anything thrown, for a log line or a message that wraps it. */
export function messageOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}
