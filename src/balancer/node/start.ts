/** The balancer's part on a node; loaded when the first Service needs it. */
import { NftConnection } from '../../kernel/nftables/index.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { ensureReturnPath, type ReturnPath } from './return-path.ts';

export type NodeBalancerOptions = {
  readonly returnPath: ReturnPath;
  readonly log: Logger;
};

/** How soon a flush by somebody else is noticed. */
const lookMs = 800;

/** Starts on the calling thread's network, which is the node's; the result stops it. */
export function startNodeBalancer({ returnPath, log }: NodeBalancerOptions): () => void {
  const connection = new NftConnection();
  let generation: number | undefined;
  const look = () => {
    try {
      const { id } = connection.generation();
      if (id === generation) return;
      const mended = ensureReturnPath(returnPath, connection);
      if (mended) log.info('answers to the balancer are led back to it');
      generation = connection.generation().id;
    } catch (error) {
      log.error({ error: messageOf(error) }, 'cannot lead answers back to the balancer');
    }
  };
  look();
  const timer = setInterval(look, lookMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    connection[Symbol.dispose]();
  };
}
