/** Notices that the configuration file has changed; a bad one leaves the old one in force (P142). */
import { unwatchFile, watchFile } from 'node:fs';
import { isDeepStrictEqual } from 'node:util';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { loadConfig, type FlagValues } from './config.ts';
import type { ProxyConfig } from './fields.ts';

/** A ConfigMap in a volume is a link that is turned over, which no other way of watching sees. */
const POLL_MS = 1000;

export type ConfigWatch = {
  readonly file: string;
  readonly flags: FlagValues;
  readonly config: ProxyConfig;
  readonly log: Logger;
  /** Called once, with a file that can be used and says something else. */
  readonly onChange: () => void;
};

/** Returns the way out. */
export function watchConfig({ file, flags, config, log, onChange }: ConfigWatch): () => void {
  const look = () => {
    loadConfig(file, flags).then(
      (loaded) => {
        if (isDeepStrictEqual(loaded.config, config)) return;
        stop();
        onChange();
      },
      (error: unknown) => {
        log.error({ error: messageOf(error) }, 'the new configuration is bad, the old one stays');
      },
    );
  };
  const stop = () => unwatchFile(file, look);
  watchFile(file, { interval: POLL_MS }, look).unref();
  return stop;
}
