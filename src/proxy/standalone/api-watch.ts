/** Tells once when the API server is away or refuses us, and once when it answers again (P130). */
import type { RequestFacts } from '../../client/http-client.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';

/** A listener for every request of a client. */
export function tellApiTrouble(log: Logger): (facts: RequestFacts) => void {
  /** Paths that were refused, with the code. */
  const refused = new Map<string, string>();
  let away = false;
  return ({ code, method, path, host, error }) => {
    // Given up by ourselves, as at the end.
    if (error instanceof Error && error.name === 'AbortError') return;
    if (code === '<error>') {
      if (!away) {
        const facts = { server: host, error: messageOf(error) };
        log.warn(facts, 'the API server does not answer: the rules stay as they are');
      }
      away = true;
      return;
    }
    if (away) log.info({ server: host }, 'the API server answers again');
    away = false;
    const isRefusal = code === '401' || code === '403';
    if (isRefusal && refused.get(path) !== code) {
      log.error({ method, path, code }, 'the API server refuses this identity');
    }
    if (isRefusal) refused.set(path, code);
    else refused.delete(path);
  };
}
