/** Field errors and the 422 they become (A66-A68; apimachinery/pkg/util/validation/field). */
import type { Resource } from '../resources.ts';
import { failure, type ApiError } from '../status.ts';

/** What each type of error is called in a message. */
const titles = {
  Required: 'Required value',
  Invalid: 'Invalid value',
  NotSupported: 'Unsupported value',
  Duplicate: 'Duplicate value',
  Forbidden: 'Forbidden',
  TooLong: 'Too long',
  TooMany: 'Too many',
  NotFound: 'Not found',
  TypeInvalid: 'Invalid value',
  InternalError: 'Internal error',
} as const;

export type FieldErrorType = keyof typeof titles;

/** One fault; `field` is a path such as `spec.ports[0].port`. */
export type FieldError = {
  readonly type: FieldErrorType;
  readonly field: string;
  readonly value?: unknown;
  readonly detail: string;
};

export function required(field: string, detail = ''): FieldError {
  return { type: 'Required', field, detail };
}

export function invalidValue(field: string, value: unknown, detail: string): FieldError {
  return { type: 'Invalid', field, value, detail };
}

export function notSupported(
  field: string,
  value: unknown,
  supported: readonly string[],
): FieldError {
  const list = [...supported].sort().map((each) => JSON.stringify(each));
  return { type: 'NotSupported', field, value, detail: `supported values: ${list.join(', ')}` };
}

export function duplicate(field: string, value: unknown): FieldError {
  return { type: 'Duplicate', field, value, detail: '' };
}

export function forbidden(field: string, detail: string): FieldError {
  return { type: 'Forbidden', field, detail };
}

export function notFound(field: string, value: unknown): FieldError {
  return { type: 'NotFound', field, value, detail: '' };
}

export function tooLong(field: string, bytesMax: number): FieldError {
  return { type: 'TooLong', field, detail: `may not be more than ${bytesMax} bytes` };
}

export function tooMany(field: string, value: number, countMax: number): FieldError {
  return { type: 'TooMany', field, value, detail: `must have at most ${countMax} items` };
}

/** One error per message, all about the same value. */
export function invalidFor(
  field: string,
  value: unknown,
  messages: readonly string[],
): FieldError[] {
  return messages.map((detail) => invalidValue(field, value, detail));
}

const withoutValue = new Set<FieldErrorType>(['Required', 'Forbidden', 'TooLong', 'InternalError']);

/** `Invalid value: 0: must be between 1 and 65535, inclusive`: the error without its field. */
export function bodyOf({ type, value, detail }: FieldError): string {
  let text: string = titles[type];
  if (!withoutValue.has(type)) text += `: ${JSON.stringify(value ?? null)}`;
  return detail === '' ? text : `${text}: ${detail}`;
}

/** The 422 that names every fault. */
export function invalid(
  resource: Pick<Resource, 'group' | 'kind'>,
  name: string,
  errors: readonly FieldError[],
): ApiError {
  const { group, kind } = resource;
  const texts = [...new Set(errors.map((error) => `${error.field}: ${bodyOf(error)}`))];
  const all = texts.length === 1 ? texts[0] : `[${texts.join(', ')}]`;
  const title = group === '' ? kind : `${kind}.${group}`;
  return failure(422, 'Invalid', `${title} "${name}" is invalid: ${all}`, {
    name,
    ...(group !== '' && { group }),
    kind,
    causes: errors.map((error) => ({
      reason: error.type === 'InternalError' ? error.type : `FieldValue${error.type}`,
      message: bodyOf(error),
      field: error.field,
    })),
  });
}
