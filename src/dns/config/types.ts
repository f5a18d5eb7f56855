/** What the server shall do, checked and complete: made from a Corefile or from flags. */
import type { Name } from '../wire/name.ts';
import type { PodRecords } from '../zone/zones.ts';

export type Configuration = { readonly blocks: readonly ServerBlock[] };

/** Zones that share a chain of plugins. */
export type ServerBlock = {
  readonly sites: readonly Site[];
  readonly plugins: PluginSettings;
};

export type Scheme = 'dns' | 'tls' | 'https';

/** A zone on a socket. */
export type Site = {
  /** Folded. */
  readonly zone: Name;
  readonly scheme: Scheme;
  /** An address; `::` and `0.0.0.0` are all. */
  readonly host: string;
  readonly port: number;
};

/** By directive; an absent one is off. */
export type PluginSettings = {
  readonly cache?: CacheSettings;
  readonly errors?: ErrorsSettings;
  readonly forward?: readonly ForwardSettings[];
  readonly health?: HealthSettings;
  readonly kubernetes?: KubernetesSettings;
  readonly loadbalance?: LoadbalanceSettings;
  readonly loop?: LoopSettings;
  readonly prometheus?: PageSettings;
  readonly ready?: PageSettings;
};

export type HostPort = { readonly host: string; readonly port: number };

export type PageSettings = { readonly at: HostPort };

export type HealthSettings = PageSettings & { readonly lameDuckMs: number };

export type KubernetesSettings = {
  /** Folded; the first that is not reverse is the one PTR records point into (D2). */
  readonly zones: readonly Name[];
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  /** Zones whose missing names the next stages may know. */
  readonly fallthrough: readonly Name[];
  readonly strictCoredns: boolean;
};

export type CacheSettings = {
  /** Where CoreDNS has it, before the stages that answer from memory; else right before `forward`. */
  readonly strictCoredns: boolean;
};

export type ForwardSettings = {
  /** Only names in it are forwarded. */
  readonly from: Name;
  readonly servers: readonly HostPort[];
};

export type LoadbalanceSettings = { readonly policy: 'round_robin' };

export type ErrorsSettings = { readonly consolidate: readonly never[] };

export type LoopSettings = { readonly zone: Name };
