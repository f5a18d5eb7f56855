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
  /** Addresses; they are in the block's sites already. */
  readonly bind?: readonly string[];
  readonly cache?: CacheSettings;
  readonly errors?: ErrorsSettings;
  readonly forward?: readonly ForwardSettings[];
  readonly health?: HealthSettings;
  readonly kubernetes?: KubernetesSettings;
  readonly loadbalance?: LoadbalanceSettings;
  readonly loop?: LoopSettings;
  readonly prometheus?: PageSettings;
  readonly ready?: ReadySettings;
};

export type HostPort = { readonly host: string; readonly port: number };

export type PageSettings = { readonly at: HostPort };

export type HealthSettings = PageSettings & { readonly lameDuckMs: number };

/** `until-ready`: what was ready once is not asked again (D96). */
export type ReadySettings = PageSettings & { readonly monitor: 'until-ready' | 'continuously' };

export type KubernetesSettings = {
  /** Folded; the first that is not reverse is the one PTR records point into (D2). */
  readonly zones: readonly Name[];
  readonly ttlSeconds: number;
  readonly podRecords: PodRecords;
  /** Zones whose missing names the next stages may know. */
  readonly fallthrough: readonly Name[];
  /** Every answer as CoreDNS gives it, see docs/decisions/0006. */
  readonly strictCoredns: boolean;
  /** How long a start waits for the watches at most. */
  readonly startupTimeoutMs: number;
  readonly api: ApiSettings;
  readonly endpointPodNames?: boolean;
  /** Only these have names. */
  readonly namespaces?: readonly string[];
  /** A label selector: only namespaces it matches have names. */
  readonly namespaceLabels?: string;
  /** A label selector for Services, EndpointSlices and pods. */
  readonly labels?: string;
  readonly noEndpoints?: boolean;
  readonly ignoreEmptyService?: boolean;
  readonly zonal?: boolean;
  /** Those of `zones` whose Services are ServiceImports. */
  readonly multicluster?: readonly Name[];
};

/** Where the API is; empty: as a pod finds it. */
export type ApiSettings = {
  readonly kubeconfig?: { readonly path: string; readonly context?: string };
  readonly endpoint?: string;
  readonly tls?: { readonly cert: string; readonly key: string; readonly ca: string };
};

export type CacheSettings = {
  /** Only names in these are kept. */
  readonly zones: readonly Name[];
  readonly success: CacheHalf;
  readonly denial: CacheHalf;
  /** How long a failure is kept. */
  readonly failureSeconds: number;
};

export type CacheHalf = {
  readonly entriesMax: number;
  readonly ttlSecondsMin: number;
  readonly ttlSecondsMax: number;
  /** Names in these zones are not kept. */
  readonly disabled: readonly Name[];
};

export type ForwardSettings = {
  /** Only names in it are forwarded, and none in `except`. */
  readonly from: Name;
  readonly except: readonly Name[];
  readonly servers: readonly HostPort[];
  readonly policy: 'random' | 'round_robin' | 'sequential';
  /** Questions on their way at once. */
  readonly maxConcurrent: number;
};

export type LoadbalanceSettings = { readonly policy: 'round_robin' };

export type ErrorsSettings = Record<string, never>;

export type LoopSettings = { readonly zone: Name };
