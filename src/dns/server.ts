/** The DNS server: a configuration at work on its sockets, with its probes; started and stopped as one. */
import type { Client } from '../client/client.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import { makeBlock, type Block } from './blocks.ts';
import { configurationOf, type ServeOptions } from './config/from-options.ts';
import type { Configuration } from './config/types.ts';
import { DnsCounters } from './counters.ts';
import type { PodResolver } from './explain/page.ts';
import type { HttpPage } from './health.ts';
import { Pages } from './pages.ts';
import { KubernetesStage } from './plugins/kubernetes.ts';
import { printLine } from './print-line.ts';
import { Sockets } from './sockets.ts';
import { parseServer } from './upstream/servers.ts';
import { formatName, type Name } from './wire/name.ts';
import type { World } from './world.ts';

type HostPort = { readonly host: string; readonly port: number };

export type DnsOptions = Omit<ServeOptions, 'upstreams'> & {
  readonly client: Client;
  /** As `parseServer` reads them. */
  readonly upstreams: readonly string[];
} & Surroundings;

/** What is not configuration: replaced in tests. */
export type Surroundings = {
  readonly log?: Logger;
  readonly clock?: Clock;
  /** Between 0 and 1. */
  readonly random?: () => number;
  /** Takes the lines of `log` and `errors`; absent: standard output. */
  readonly print?: (line: string) => void;
  /** The search list of this machine, which pods have behind their own. */
  readonly hostSearch?: readonly Name[];
  /** What a kubelet writes into a pod's resolv.conf, for /explain. */
  readonly podResolver?: PodResolver;
  /** Threads that answer over UDP; 0: this one does. */
  readonly workers?: number;
  /** Another process may serve the same sockets and take over when this one stops. */
  readonly handsOver?: boolean;
};

export type DnsServer = {
  /** Where it listens, in the order of the configuration's sites. */
  readonly addresses: readonly HostPort[];
  /** Settles when every Service, EndpointSlice and Namespace is known. */
  readonly synced: Promise<void>;
  isReady(): boolean;
  readonly counters: DnsCounters;
  /** Answers by another configuration from now on; throws and goes on as before if that cannot be. */
  change(configuration: Configuration): Promise<void>;
  /** Not ready from now on, answers for `lameDuckMs` more, then stops (D97). */
  stop(options?: { readonly lameDuckMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Starts a server that is told by options what to do. */
export async function startDns(options: DnsOptions): Promise<DnsServer> {
  const { client } = options;
  const upstreams = options.upstreams.map(parseServer);
  const configuration = configurationOf({ ...options, upstreams });
  return serve(configuration, { ...options, clientFor: () => client });
}

/** Starts to listen and to follow the API. Answers come at once: SERVFAIL for what is not known yet. */
export async function serve(
  configuration: Configuration,
  surroundings: Surroundings & { readonly clientFor: World['clientFor'] },
): Promise<DnsServer> {
  const { clientFor, log, clock = systemClock, random = Math.random } = surroundings;
  const { print = printLine, hostSearch = [], workers = 0, handsOver = false } = surroundings;
  const counters = new DnsCounters();
  const world: World = {
    clientFor,
    counters,
    clock,
    random,
    log,
    print,
    hostSearch,
    handsOver,
  };
  const life = new Life(world, workers, surroundings.podResolver);
  try {
    await life.begin(configuration);
    log?.info({ addresses: life.sockets.addresses }, 'answering');
    return dnsServer(life);
  } catch (error) {
    await life.end();
    throw error;
  }
}

/** What runs: blocks that answer, sockets and pages on which they do. */
class Life {
  readonly world: World;
  readonly sockets: Sockets;
  readonly #pages: Pages;
  #blocks: readonly Block[] = [];
  stopping = false;

  constructor(world: World, workers: number, podResolver: PodResolver | undefined) {
    this.world = world;
    this.sockets = new Sockets(world, workers);
    this.#pages = new Pages({
      counters: world.counters,
      handsOver: world.handsOver === true,
      notReady: () => (this.stopping ? undefined : this.notReady()),
      explain: (blocks) => explainer(blocks, this, podResolver),
    });
  }

  get blocks(): readonly Block[] {
    return this.#blocks;
  }

  isReady(): boolean {
    return !this.stopping && this.notReady().length === 0;
  }

  /** The names of the stages that are not. */
  notReady(): string[] {
    const stages = stagesOf(this.#blocks).filter((stage) => stage.isReady?.() === false);
    return stages.map(({ name }) => name);
  }

  async begin(configuration: Configuration): Promise<void> {
    this.#blocks = await makeBlocks(configuration, this.world);
    await waitBeforeListening(configuration, this);
    await this.#turnTo(this.#blocks);
  }

  /** Has another configuration answer from now on; if it cannot, all goes on as it was (D98). */
  async change(configuration: Configuration): Promise<void> {
    const old = this.#blocks;
    const blocks = await makeBlocks(configuration, this.world);
    try {
      // The new ones know the cluster before they answer, or have tried to for long enough.
      const patienceMs = startupTimeoutMsOf(configuration);
      await inTime(syncedOf(blocks), patienceMs, this.world.clock);
      await this.#turnTo(blocks);
    } catch (error) {
      await stopBlocks(blocks);
      throw error;
    }
    this.#blocks = blocks;
    await stopBlocks(old);
  }

  async end(): Promise<void> {
    await stopBlocks(this.#blocks);
    this.#pages.close();
    await this.sockets.close();
  }

  async #turnTo(blocks: readonly Block[]): Promise<void> {
    const before = this.#blocks;
    await this.sockets.turnTo(blocks);
    try {
      await this.#pages.turnTo(blocks);
    } catch (error) {
      // By now the sockets answer by blocks that are about to stop.
      if (before !== blocks) await this.sockets.turnTo(before);
      throw error;
    }
    for (const stage of stagesOf(blocks)) stage.start?.();
  }
}

async function makeBlocks({ blocks }: Configuration, world: World): Promise<Block[]> {
  const made: Block[] = [];
  try {
    for (const settings of blocks) made.push(await makeBlock(settings, world));
    return made;
  } catch (error) {
    await stopBlocks(made);
    throw error;
  }
}

async function stopBlocks(blocks: readonly Block[]): Promise<void> {
  await Promise.all(stagesOf(blocks).map(async (stage) => stage.stop?.()));
}

function stagesOf(blocks: readonly Block[]) {
  return blocks.flatMap(({ stages }) => stages);
}

function syncedOf(blocks: readonly Block[]): Promise<void> {
  return Promise.all(blocks.map(({ synced }) => synced)).then(() => undefined);
}

function startupTimeoutMsOf({ blocks }: Configuration): number {
  return Math.max(0, ...blocks.map(({ plugins }) => plugins.kubernetes?.startupTimeoutMs ?? 0));
}

/** CoreDNS is silent until it knows the cluster, for some time; here only if asked to be like it (D91). */
async function waitBeforeListening(configuration: Configuration, life: Life): Promise<void> {
  const strict = configuration.blocks.filter(
    ({ plugins }) => plugins.kubernetes?.strictCoredns === true,
  );
  const patienceMs = startupTimeoutMsOf({ blocks: strict });
  if (strict.length > 0) await inTime(syncedOf(life.blocks), patienceMs, life.world.clock);
}

/** Goes on when the work is done, or when that takes too long. */
async function inTime(work: Promise<void>, patienceMs: number, clock: Clock): Promise<void> {
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const cancel = clock.after(patienceMs, resolve);
  await Promise.race([work, late]);
  cancel();
}

/** The page /explain, loaded when somebody asks for it. */
function explainer(
  blocks: readonly Block[],
  { world, sockets }: Life,
  podResolver: PodResolver | undefined,
): HttpPage['page'] {
  let page: Promise<HttpPage['page']> | undefined;
  const load = async () => {
    const { explainPage } = await import('./explain/page.ts');
    const kubernetes = stagesOf(blocks).find((stage) => stage instanceof KubernetesStage);
    const api = blocks.map(({ settings }) => settings.plugins.kubernetes?.api).find(Boolean);
    return explainPage({
      resolve: (ask) => sockets.resolve(ask),
      zones: kubernetes?.onlyZones,
      client: api && (await world.clientFor(api, (facts) => world.counters.api.requested(facts))),
      podResolver,
      hostSearch: world.hostSearch.map((name) => formatName(name).slice(0, -1)),
    });
  };
  return async (query) => {
    page ??= load();
    return (await page)(query);
  };
}

function dnsServer(life: Life): DnsServer {
  const stop = async ({ lameDuckMs = 0 } = {}): Promise<void> => {
    life.stopping = true;
    const { clock } = life.world;
    if (lameDuckMs > 0) await new Promise<void>((resolve) => clock.after(lameDuckMs, resolve));
    await life.end();
  };
  return {
    addresses: life.sockets.addresses,
    synced: syncedOf(life.blocks),
    isReady: () => life.isReady(),
    counters: life.world.counters,
    change: (configuration) => life.change(configuration),
    stop,
    [Symbol.asyncDispose]: () => stop(),
  };
}
