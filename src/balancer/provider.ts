/** What brings packets for an address to the nodes. The controller decides; providers carry out. */
import type { Service } from '../api/types.ts';
import type { IpMode, ProviderName } from './request.ts';

/** What a Service has been given. */
export type Assignment = {
  /** One per family, canonical. */
  readonly ips: readonly string[];
  readonly ipMode: IpMode;
};

export type Provider = {
  readonly name: ProviderName;
  /**
   * Makes the addresses answer for the Service, in the place of what it had; called whenever the
   * Service changes. When it returns, clients may be sent there.
   */
  serve(service: Service, assignment: Assignment): void;
  /** The Service (`namespace/name`) has no address here any more; nothing when it had none. */
  release(service: string): void;
  /** Every Service has been told once: what is left from earlier can go. */
  settle(): void;
  /** Ends the work; what packets need stays in place. */
  stop(): void;
};
