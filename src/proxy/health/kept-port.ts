/** An HTTP port that is opened again and again until it can be had (P124). */
import type { Clock } from '../../lib/clock.ts';
import { messageOf, WorldError } from '../../lib/errors.ts';
import { formatHostPort } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import { openHttpPort, type HttpPort, type HttpPortOptions } from './http-port.ts';

const RETRY_MS = 5000;

export type KeptPortOptions = Omit<HttpPortOptions, 'addresses'> & {
  readonly host: string;
  /** What is served, for messages: `healthz`. */
  readonly name: string;
  /** Fails at once instead of trying again. */
  readonly hardFail: boolean;
  readonly clock: Clock;
  readonly log: Logger;
};

/** Settles once the first try is over; rejects with `PROXY_LISTEN` when it failed hard. */
export async function keepHttpPort(options: KeptPortOptions): Promise<HttpPort> {
  const { host, port, handler, name, hardFail, clock, log } = options;
  // As Go does, 0.0.0.0 stands for all addresses of both families.
  const addresses = host === '0.0.0.0' || host === '::' ? [] : [host];
  let opened: HttpPort | undefined;
  let cancel: (() => void) | undefined;
  let closed = false;
  const attempt = async () => {
    try {
      const http = await openHttpPort({ addresses, port, handler });
      if (closed) http.close();
      else opened = http;
      log.info({ address: formatHostPort(host, port) }, `serving ${name}`);
    } catch (error) {
      const place = formatHostPort(host, port);
      const text = `Cannot serve ${name} on "${place}": ${messageOf(error)}`;
      if (hardFail) throw new WorldError('PROXY_LISTEN', text, { cause: error });
      log.error({ address: place, error: messageOf(error), retryMs: RETRY_MS }, `no ${name}`);
      if (!closed) cancel = clock.after(RETRY_MS, () => void attempt());
    }
  };
  await attempt();
  return {
    close() {
      closed = true;
      cancel?.();
      opened?.close();
    },
  };
}
