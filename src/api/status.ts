/** Errors as the API speaks them: `Status` objects (A64-A69). */

export type StatusCause = { reason?: string; message?: string; field?: string };

export type Status = {
  kind: 'Status';
  apiVersion: 'v1';
  metadata: { resourceVersion?: string; continue?: string; remainingItemCount?: number };
  status: 'Success' | 'Failure';
  message?: string;
  reason?: string;
  details?: {
    name?: string;
    group?: string;
    kind?: string;
    uid?: string;
    causes?: StatusCause[];
    retryAfterSeconds?: number;
  };
  code?: number;
};

/** A refusal of the API server; `status` goes to the client as it is. */
export class ApiError extends Error {
  override name = 'ApiError';
  readonly status: Status;

  constructor(status: Status) {
    super(status.message ?? status.reason ?? 'unknown API error');
    this.status = status;
  }

  /** The HTTP status. */
  get code(): number {
    return this.status.code ?? 500;
  }

  get reason(): string {
    return this.status.reason ?? '';
  }
}

/** A `Status` failure with the given HTTP code and reason. */
export function failure(
  code: number,
  reason: string,
  message: string,
  details?: Status['details'],
): ApiError {
  const status: Status = {
    kind: 'Status',
    apiVersion: 'v1',
    metadata: {},
    status: 'Failure',
    message,
    reason,
    code,
  };
  if (details !== undefined) status.details = details;
  return new ApiError(status);
}

/** Whether the error is an API refusal with the given reason, such as `NotFound` or `Conflict`. */
export function isReason(error: unknown, reason: string): error is ApiError {
  return error instanceof ApiError && error.reason === reason;
}
