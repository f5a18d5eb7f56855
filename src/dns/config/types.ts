/** What the server shall do, checked and complete: made from a Corefile or from flags. */
import type { Cidr } from '../../lib/ip.ts';
import type { Name } from '../wire/name.ts';
import type { PodRecords } from '../zone/zones.ts';
import type { GoTemplate } from './go-template.ts';
import type { TlsListenSettings } from '../secure/tls-options.ts';
import type { Server } from '../upstream/servers.ts';

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
  readonly acl?: AclSettings;
  readonly autopath?: AutopathSettings;
  /** Addresses; they are in the block's sites already. */
  readonly bind?: readonly string[];
  /** The largest reply over UDP, whatever the client says it takes. */
  readonly bufsize?: number;
  readonly cache?: CacheSettings;
  readonly chaos?: ChaosSettings;
  readonly errors?: ErrorsSettings;
  readonly forward?: readonly ForwardSettings[];
  readonly health?: HealthSettings;
  readonly hosts?: HostsSettings;
  readonly kubernetes?: KubernetesSettings;
  readonly loadbalance?: LoadbalanceSettings;
  readonly log?: LogSettings;
  readonly loop?: LoopSettings;
  /** How many UDP sockets a port has. */
  readonly multisocket?: number;
  readonly prometheus?: PageSettings;
  readonly ready?: ReadySettings;
  readonly reload?: ReloadSettings;
  readonly rewrite?: readonly RewriteRule[];
  readonly template?: readonly TemplateSettings[];
  readonly tls?: TlsListenSettings;
  readonly transfer?: TransferSettings;
  readonly whoami?: Record<string, never>;
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
  /** How long a failure is kept; 0: not at all. */
  readonly failureSeconds: number;
  /** Hits have the TTL that the answer came with. */
  readonly keepTtl?: boolean;
  readonly prefetch?: PrefetchSettings;
  readonly serveStale?: ServeStaleSettings;
};

/** An answer asked for often enough is fetched anew before it expires. */
export type PrefetchSettings = {
  /** So many hits, none more than `windowMs` after the one before. */
  readonly hitsMin: number;
  readonly windowMs: number;
  /** So much of the TTL is left when it is fetched. */
  readonly percentage: number;
};

/** An expired answer is better than none (RFC 8767). */
export type ServeStaleSettings = {
  readonly forMs: number;
  /** Undefined: the stale answer is given at once and fetched anew behind it. */
  readonly verifyTimeoutMs: number | undefined;
  readonly ttlSeconds: number;
  /** After a failure the next try waits so long. */
  readonly recheckMs: number;
  /** A good answer, even a stale one, comes before a denial. */
  readonly preferPositive: boolean;
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
  readonly servers: readonly Server[];
  readonly policy: 'random' | 'round_robin' | 'sequential';
  /** Questions on their way at once. */
  readonly maxConcurrent: number;
  /** Never over UDP. */
  readonly forceTcp: boolean;
  /** A server is down after more failed probes than this; 0: never. */
  readonly maxFails: number;
  readonly healthCheck: HealthCheck;
  /** Where all servers are down nobody is asked. */
  readonly failFast: boolean;
  readonly readTimeoutMs: number;
  /** Tries for one question in all; undefined: twice around. */
  readonly maxAttempts: number | undefined;
  /** How long idle connections stay, how old they get, and how many there are; 0: no limit. */
  readonly expireMs: number;
  readonly maxAgeMs: number;
  readonly maxIdle: number;
  /** After these answers another server is asked. */
  readonly failover: readonly number[];
  /** After these the next `forward` of the block is. */
  readonly next: readonly number[];
  readonly nextOnNodata: boolean;
  readonly tls: TlsFiles;
  readonly tlsServerName: string | undefined;
  readonly dohMethod: 'GET' | 'POST';
  readonly sourceAddress: string | undefined;
};

export type HealthCheck = {
  readonly intervalMs: number;
  readonly recursionDesired: boolean;
  readonly domain: Name;
};

/** Paths of PEM files. */
export type TlsFiles = { readonly cert?: string; readonly key?: string; readonly ca?: string };

export type LoadbalanceSettings = {
  /** Which address comes first is drawn by weight; absent: all orders are alike. */
  readonly weights: { readonly path: string; readonly reloadMs: number } | undefined;
  /** Addresses in these come before the others. */
  readonly prefer: readonly Cidr[];
};

export type ErrorsSettings = { readonly consolidate: readonly Consolidation[] };

/** Errors that match are told together at the end of each period. */
export type Consolidation = {
  readonly periodMs: number;
  readonly periodText: string;
  readonly pattern: RegExp;
  readonly level: 'warning' | 'error' | 'info' | 'debug';
  /** The first of a period is told at once. */
  readonly showFirst: boolean;
};

export type LogClass = 'all' | 'success' | 'denial' | 'error';

export type LogSettings = { readonly rules: readonly LogRule[] };

/** The first rule whose zone a name is in counts. */
export type LogRule = {
  readonly zone: Name;
  readonly format: string;
  readonly classes: ReadonlySet<LogClass>;
};

export type HostsSettings = {
  readonly path: string;
  /** In the format of hosts(5). */
  readonly inline: readonly string[];
  /** Only names in these are taken from the file. */
  readonly zones: readonly Name[];
  readonly ttlSeconds: number;
  /** How often the file is looked at; 0: never again. */
  readonly reloadMs: number;
  /** Addresses have names too. */
  readonly reverse: boolean;
  readonly fallthrough: readonly Name[];
  /** Types that a hosts file cannot have fall through as well. */
  readonly fallthroughUnsupported: boolean;
};

/** Who may ask what: the first policy that fits decides. */
export type AclSettings = readonly AclRule[];

export type AclRule = { readonly zones: readonly Name[]; readonly policies: readonly AclPolicy[] };

export type AclPolicy = {
  readonly action: 'allow' | 'block' | 'filter' | 'drop';
  /** Undefined: all. */
  readonly types: readonly number[] | undefined;
  readonly sources: readonly Cidr[] | undefined;
};

export type AutopathSettings = {
  readonly zones: readonly Name[];
  /** `@kubernetes`: that of the pod that asks. */
  readonly search: 'kubernetes' | readonly Name[];
};

/** How a rule of `rewrite` finds the names it is about; texts are in lower case with a final dot. */
export type NameMatch =
  | { readonly how: 'exact' | 'prefix' | 'suffix' | 'substring'; readonly text: string }
  | { readonly how: 'regex'; readonly pattern: RegExp };

/** What is done to the names of an answer. */
export type AnswerRewrite = {
  readonly part: 'name' | 'value';
  readonly pattern: RegExp;
  readonly to: string;
};

/** `last`: no rule after this one is looked at. */
export type RewriteRule = { readonly last: boolean } & (
  | {
      readonly kind: 'name';
      readonly match: NameMatch;
      readonly to: string;
      /** Names in the answer are turned back. */
      readonly auto: boolean;
      readonly answers: readonly AnswerRewrite[];
    }
  | { readonly kind: 'type' | 'class'; readonly from: number; readonly to: number }
  | {
      readonly kind: 'ttl';
      readonly match: NameMatch;
      readonly minSeconds: number;
      readonly maxSeconds: number;
    }
  | {
      readonly kind: 'rcode';
      readonly match: NameMatch;
      readonly from: number | undefined;
      readonly to: number;
    }
  | { readonly kind: 'cname'; readonly match: NameMatch; readonly to: string }
);

export type TemplateSettings = {
  readonly class: number;
  readonly type: number;
  readonly zones: readonly Name[];
  /** The first that matches the name gives the groups. */
  readonly patterns: readonly RegExp[];
  readonly answers: readonly GoTemplate[];
  readonly authorities: readonly GoTemplate[];
  readonly additionals: readonly GoTemplate[];
  readonly rcode: number;
  readonly fallthrough: readonly Name[];
  readonly extendedError: { readonly code: number; readonly text: string } | undefined;
};

/** How often the Corefile is looked at, each time by up to half the jitter earlier or later. */
export type ReloadSettings = { readonly intervalMs: number; readonly jitterMs: number };

/** Who may have which zones whole. */
export type TransferSettings = readonly {
  readonly zones: readonly Name[];
  /** Addresses. */
  readonly to: 'all' | readonly string[];
}[];

/** What `version.bind` and `authors.bind` say. */
export type ChaosSettings = { readonly version: string; readonly authors: readonly string[] };

export type LoopSettings = { readonly zone: Name };
