/** Questions about who one is and what one may do; answered, never stored (A136, A138). */
import { randomUUID } from 'node:crypto';

import { type Resource, reviews } from '../../api/resources.ts';
import { formatTime } from '../../lib/clock.ts';
import type { AnyObject, ApiContext, Caller } from '../context.ts';
import type { Tokens } from './tokens.ts';

/** The review with its status filled in. */
export function answerReview(
  context: ApiContext & { readonly tokens: Tokens | undefined },
  resource: Resource,
  body: AnyObject,
  caller: Caller,
): AnyObject {
  switch (resource.resource) {
    case reviews.selfsubjectreviews.resource: {
      const metadata = {
        ...body.metadata,
        name: body.metadata?.name ?? '',
        uid: randomUUID(),
        creationTimestamp: formatTime(context.clock.now()),
      };
      return { ...body, metadata, status: { userInfo: userInfoOf(caller) } };
    }
    case reviews.selfsubjectrulesreviews.resource:
      return { ...body, status: everything() };
    case reviews.tokenreviews.resource:
      return { ...body, status: reviewToken(context.tokens, body) };
    default:
      // Whoever is authenticated may do everything, for now.
      return { ...body, status: { allowed: true, reason: 'every authenticated user may' } };
  }
}

function userInfoOf({ user, uid, groups, extra }: Caller): object {
  return {
    username: user,
    ...(uid === undefined ? {} : { uid }),
    groups,
    ...(extra === undefined ? {} : { extra }),
  };
}

function everything(): Record<string, unknown> {
  return {
    resourceRules: [{ verbs: ['*'], apiGroups: ['*'], resources: ['*'] }],
    nonResourceRules: [{ verbs: ['*'], nonResourceURLs: ['*'] }],
    incomplete: false,
  };
}

function reviewToken(tokens: Tokens | undefined, body: AnyObject): Record<string, unknown> {
  const { token, audiences } = (body.spec ?? {}) as { token?: string; audiences?: string[] };
  const wanted = audiences?.length ? audiences : tokens === undefined ? [] : [tokens.issuer];
  const caller = token === undefined ? undefined : tokens?.authenticate(token, wanted);
  if (caller === undefined) return { user: {}, error: 'the token is not valid' };
  return { authenticated: true, user: userInfoOf(caller), audiences: wanted };
}
