/** DeleteOptions as clients send them, in a body or in a query (A40). */
import type { DeleteOptions } from '../client/client.ts';
import type { WriteOptions } from './context.ts';
import { badRequest } from './refusals.ts';

/** The wire's DeleteOptions, of the right types already. */
export type DeleteOptionsBody = {
  gracePeriodSeconds?: number;
  propagationPolicy?: string;
  orphanDependents?: boolean;
  preconditions?: { uid?: string; resourceVersion?: string };
  dryRun?: string[];
};

/** What a deletion goes by. Throws 400 on a value nobody knows. */
export function deleteOptionsOf(body: DeleteOptionsBody): DeleteOptions & WriteOptions {
  const { gracePeriodSeconds, preconditions, dryRun = [] } = body;
  const propagationPolicy = policyOf(body);
  if (dryRun.some((value) => value !== 'All')) {
    throw badRequest(`invalid dryRun value ${JSON.stringify(dryRun)}: only "All" is known`);
  }
  return {
    dryRun: dryRun.length > 0,
    ...(gracePeriodSeconds === undefined ? {} : { gracePeriodSeconds }),
    ...(propagationPolicy === undefined ? {} : { propagationPolicy }),
    ...(preconditions === undefined ? {} : { preconditions }),
  };
}

const POLICIES = ['Background', 'Foreground', 'Orphan'] as const;

/** `orphanDependents` is the old spelling. */
function policyOf({
  propagationPolicy: text,
  orphanDependents: orphan,
}: DeleteOptionsBody): (typeof POLICIES)[number] | undefined {
  if (text === undefined || text === '') {
    return orphan === undefined ? undefined : orphan ? 'Orphan' : 'Background';
  }
  const policy = POLICIES.find((name) => name === text);
  if (policy !== undefined) return policy;
  throw badRequest(
    `invalid propagationPolicy "${text}": must be one of "Background", "Foreground", "Orphan"`,
  );
}
