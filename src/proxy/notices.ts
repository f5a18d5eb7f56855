/** Tells people of what they might not expect of a Service: Events on it, and lines in the log. */
import { resources } from '../api/resources.ts';
import type { Service } from '../api/types.ts';
import type { EventRecorder } from '../client/events.ts';
import type { Logger } from '../lib/log.ts';
import type { Clash, Notice } from '../plan/types.ts';

export type NoticesOptions = {
  readonly events: EventRecorder;
  readonly log: Logger;
  /** By `namespace/name`. */
  readonly service: (key: string) => Service | undefined;
};

export class Notices {
  readonly #options: NoticesOptions;
  /** What each Service was last told, as text. */
  readonly #told = new Map<string, string>();
  #clashes = new Set<string>();

  constructor(options: NoticesOptions) {
    this.#options = options;
  }

  /** What the plan of a Service has to say; each text once, until it changes. */
  set(key: string, notices: readonly Notice[]): void {
    const text = JSON.stringify(notices);
    if ((this.#told.get(key) ?? '[]') === text) return;
    if (notices.length === 0) this.#told.delete(key);
    else this.#told.set(key, text);
    for (const notice of notices) this.#tell(key, notice);
  }

  /** Every clash there is; new ones are told to the Service that is not served (P44). */
  setClashes(clashes: readonly Clash[]): void {
    const present = new Set<string>();
    for (const { frontend, winner, loser } of clashes) {
      const id = `${frontend} ${winner} ${loser}`;
      present.add(id);
      if (this.#clashes.has(id)) continue;
      const message = `${frontend} is served for Service "${winner}", which has the better claim`;
      this.#tell(loser, { type: 'Warning', reason: 'AddressClash', message });
    }
    this.#clashes = present;
  }

  /** What the node could not do for a Service. */
  warn(key: string, reason: string, message: string): void {
    this.#tell(key, { type: 'Warning', reason, message });
  }

  #tell(key: string, { type, reason, message }: Notice): void {
    const { events, log, service } = this.#options;
    log[type === 'Warning' ? 'warn' : 'info']({ service: key, reason }, message);
    const object = service(key);
    if (type === 'Warning' && object) {
      events.record(resources.services, object, { type, reason, message });
    }
  }
}
