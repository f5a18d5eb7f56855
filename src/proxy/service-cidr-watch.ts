/** The cluster's Service ranges, from its ServiceCIDR objects, followed as they come and go (P92). */
import type { KubeObject } from '../api/meta.ts';
import type { Resource } from '../api/resources.ts';
import { ApiError } from '../api/status.ts';
import type { Client } from '../client/client.ts';
import { Informer } from '../client/informer.ts';
import type { Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { normalCidr } from '../plan/address.ts';

/** `networking.k8s.io/v1` has it since Kubernetes 1.33. */
export const SERVICE_CIDRS: Resource = {
  group: 'networking.k8s.io',
  version: 'v1',
  resource: 'servicecidrs',
  kind: 'ServiceCIDR',
  namespaced: false,
  singular: 'servicecidr',
};

type ServiceCidr = KubeObject & { readonly spec?: { readonly cidrs?: readonly string[] } };

/** An API server that does not have the kind may have it after an upgrade. */
const ASK_AGAIN_MS = 60_000;

export type ServiceCidrWatchOptions = {
  readonly client: Client;
  readonly clock: Clock;
  readonly log: Logger;
  readonly onChange: () => void;
};

export class ServiceCidrWatch {
  readonly #options: ServiceCidrWatchOptions;
  readonly #informer: Informer<ServiceCidr>;
  #cancel: (() => void) | undefined;
  #stopped = false;

  constructor(options: ServiceCidrWatchOptions) {
    const { client, clock } = options;
    this.#options = options;
    this.#informer = new Informer<ServiceCidr>({ client, resource: SERVICE_CIDRS, clock });
  }

  /** All of them; none while none are known. */
  get cidrs(): readonly string[] {
    const texts = this.#informer.list().flatMap(({ spec }) => spec?.cidrs ?? []);
    return [...new Set(texts.flatMap((text) => normalCidr(text) ?? []))].sort();
  }

  start(): void {
    this.#informer.onChange(() => this.#options.onChange());
    void this.#begin();
  }

  [Symbol.dispose](): void {
    this.#stopped = true;
    this.#cancel?.();
    this.#informer.stop();
  }

  /** Asks once before it watches, so that a server without the kind is not asked all the time. */
  async #begin(): Promise<void> {
    const { client, clock, log } = this.#options;
    try {
      await client.list(SERVICE_CIDRS);
    } catch (error) {
      if (error instanceof ApiError && (error.code === 404 || error.code === 403)) {
        log.info({ error: messageOf(error) }, 'no ServiceCIDR objects: unallocated addresses pass');
        if (!this.#stopped) this.#cancel = clock.after(ASK_AGAIN_MS, () => void this.#begin());
        return;
      }
      // The informer tries again by itself.
      log.debug({ error: messageOf(error) }, 'cannot list ServiceCIDR objects yet');
    }
    if (!this.#stopped) this.#informer.start();
  }
}
