/** Holds objects against the schema: unknown and duplicate fields, wrong types (A46). */
import type { Decoded } from './decode.ts';
import type { KubeObject } from './meta.ts';
import { failure } from './status.ts';

export type FieldValidation = 'Strict' | 'Warn' | 'Ignore';

/** The `fieldValidation` query parameter; absent means Warn. Throws 400 on another value. */
export function parseFieldValidation(value: string | undefined): FieldValidation {
  throw failure(501, 'NotImplemented', `${value}`);
}

/**
 * Drops unknown fields and nulls from the object (in place), converts nothing else. Wrong types are
 * a 400; unknown and duplicate fields are a 400 under Strict, and `warnings` under Warn.
 */
export function conform<T extends KubeObject>(
  decoded: Decoded,
  mode: FieldValidation,
): { object: T; warnings: string[] } {
  throw failure(501, 'NotImplemented', `${decoded.kind} ${mode}`);
}
