/** `reload`: looks at the Corefile now and then, and has the server answer by what it says (D98). */
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import type { ReadCorefile } from './config/corefile.ts';
import type { ReloadSettings } from './config/types.ts';
import type { DnsServer } from './server.ts';

export type ReloadOptions = {
  /** Reads the Corefile and what it imports anew. */
  readonly read: () => ReadCorefile;
  /** What the server answers by. */
  readonly current: ReadCorefile;
  readonly server: DnsServer;
  readonly clock: Clock;
  /** Between 0 and 1: many servers must not all look at once. */
  readonly random: () => number;
  readonly log: Logger | undefined;
};

/** Looks until the returned function is called; does nothing where no block says `reload`. */
export function startReloading(options: ReloadOptions): () => void {
  const { server, clock, random, log } = options;
  let { current } = options;
  /** The last text that could not be used: it is said once what is wrong with it. */
  let refused: string | undefined;
  let cancel = () => undefined as void;
  let stopped = false;
  const { reload } = server.counters;
  reload.digest = current.digest;

  const look = async (): Promise<void> => {
    try {
      const found = options.read();
      if (found.digest === current.digest || found.digest === refused) return;
      refused = found.digest;
      await server.change(found.configuration);
      current = found;
      refused = undefined;
      reload.digest = found.digest;
      log?.info({ sha512: found.digest }, 'answering by the changed Corefile');
    } catch (error) {
      const text = messageOf(error);
      if (text !== reload.lastError)
        log?.error({ error: text }, 'the changed Corefile is not used');
      reload.lastError = text;
      reload.failed += 1;
    }
  };
  const again = (): void => {
    const settings = settingsOf(current);
    if (settings === undefined || stopped) return;
    const delayMs = settings.intervalMs + (random() - 0.5) * settings.jitterMs;
    cancel = clock.after(delayMs, () => void look().finally(again));
  };
  again();
  return () => {
    stopped = true;
    cancel();
  };
}

function settingsOf({ configuration }: ReadCorefile): ReloadSettings | undefined {
  return configuration.blocks.map(({ plugins }) => plugins.reload).find((found) => found);
}
