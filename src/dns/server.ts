/** The DNS server: a configuration at work on its sockets, with its probes; started and stopped as one. */
import type { Client } from '../client/client.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import { makeBlock, type Block, type Plain } from './blocks.ts';
import { configurationOf, type ServeOptions } from './config/from-options.ts';
import type { ApiSettings, Configuration, Site } from './config/types.ts';
import { DnsCounters } from './counters.ts';
import { printLine } from './print-line.ts';
import type { PodResolver } from './explain/page.ts';
import { servePages, type HttpPage } from './health.ts';
import { pagesOf } from './pages.ts';
import { KubernetesStage } from './plugins/kubernetes.ts';
import type { Next } from './stage.ts';
import { FastPath } from './kept/fast-path.ts';
import { Responder } from './respond.ts';
import { listenTcp } from './tcp.ts';
import { listenUdp, type Handle, type Listener } from './udp.ts';
import { parseServer } from './upstream/servers.ts';
import { formatName, root, type Name } from './wire/name.ts';
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
};

export type DnsServer = {
  /** Where it listens, in the order of the configuration's sites. */
  readonly addresses: readonly HostPort[];
  /** Settles when every Service, EndpointSlice and Namespace is known. */
  readonly synced: Promise<void>;
  isReady(): boolean;
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
  surroundings: Surroundings & { readonly clientFor: (api: ApiSettings) => Client },
): Promise<DnsServer> {
  const { clientFor, log, clock = systemClock, random = Math.random } = surroundings;
  const counters = new DnsCounters();
  const { print = printLine, hostSearch = [] } = surroundings;
  const world: World = { clientFor, counters, clock, random, log, print, hostSearch };
  const { workers = 0 } = surroundings;
  const life: Life = { stopping: false, blocks: [], resolvers: [], closers: [], workers };
  try {
    for (const settings of configuration.blocks) {
      life.blocks.push(await makeBlock(settings, world));
    }
    const synced = Promise.all(life.blocks.map((block) => block.synced));
    await Promise.race([synced, waitBeforeListening(configuration, clock)]);
    const addresses = await listenAll(life, world);
    await serveAllPages(life, world, surroundings.podResolver);
    for (const stage of stagesOf(life)) stage.start?.();
    log?.info({ addresses }, 'answering');
    return dnsServer(life, addresses, clock);
  } catch (error) {
    await stopAll(life);
    throw error;
  }
}

/** CoreDNS is silent until it knows the cluster, for some time; here only if asked to be like it (D91). */
function waitBeforeListening({ blocks }: Configuration, clock: Clock): Promise<void> {
  const strict = blocks.flatMap(({ plugins: { kubernetes } }) =>
    kubernetes?.strictCoredns === true ? [kubernetes.startupTimeoutMs] : [],
  );
  if (strict.length === 0) return Promise.resolve();
  return new Promise((resolve) => clock.after(Math.max(...strict), resolve));
}

type Life = {
  stopping: boolean;
  blocks: Block[];
  /** Of each socket, past its kept answers. */
  resolvers: Next[];
  closers: (() => Promise<void>)[];
  readonly workers: number;
};

function stagesOf({ blocks }: Life) {
  return blocks.flatMap(({ stages }) => stages);
}

function isReady(life: Life): boolean {
  return !life.stopping && stagesOf(life).every((stage) => stage.isReady?.() ?? true);
}

async function stopAll(life: Life): Promise<void> {
  await Promise.all(stagesOf(life).map(async (stage) => stage.stop?.()));
  await Promise.all(life.closers.splice(0).map((close) => close()));
}

function dnsServer(life: Life, addresses: readonly HostPort[], clock: Clock): DnsServer {
  const stop = async ({ lameDuckMs = 0 } = {}): Promise<void> => {
    life.stopping = true;
    if (lameDuckMs > 0) await new Promise<void>((resolve) => clock.after(lameDuckMs, resolve));
    await stopAll(life);
  };
  return {
    addresses,
    synced: Promise.all(life.blocks.map(({ synced }) => synced)).then(() => undefined),
    isReady: () => isReady(life),
    stop,
    [Symbol.asyncDispose]: () => stop(),
  };
}

/** Listens on each address over UDP, and over TCP on the same port. */
async function listenAll(life: Life, world: World): Promise<HostPort[]> {
  const sockets = Map.groupBy(
    life.blocks.flatMap((block) => block.settings.sites.map((site) => ({ site, block }))),
    ({ site }) => socketLabel(site),
  );
  const listening = [...sockets.values()].map(async (served) => {
    const { site } = served[0]!;
    const zones = served.map(({ site: { zone }, block }) => ({ zone, block }));
    const { counters, log } = world;
    const responder = new Responder({ zones, label: socketLabel(site), host: site.host, counters });
    life.resolvers.push((ask) => responder.answer(ask));
    const handle = handlerOf(responder, counters, log);
    const plain = plainOf(served);
    const how = { handle, plain, world, workers: life.workers };
    const { port, listeners } = await listenAt(served, how);
    for (const listener of listeners) life.closers.push(() => listener.close());
    return { host: site.host, port };
  });
  return Promise.all(listening);
}

/** Where one block answers whatever is asked there, kept answers go before it. */
function plainOf(
  served: readonly { readonly site: Site; readonly block: Block }[],
): Plain | undefined {
  const [first, ...more] = served;
  return more.length === 0 && first!.site.zone === root ? first!.block.plain : undefined;
}

function fastPathOf({ keeper, shuffles }: Plain, { counters, clock, random }: World): FastPath {
  return new FastPath({
    store: keeper.store,
    counts: counters.own,
    nowMs: () => clock.monotonicMs(),
    random: shuffles ? random : undefined,
  });
}

/** DNS over TLS and HTTPS is loaded where it is wanted: most servers do without. */
async function listenAt(
  served: readonly { readonly site: Site; readonly block: Block }[],
  how: How,
): Promise<Both> {
  const { site } = served[0]!;
  const { tls } =
    served.find(({ block }) => block.settings.plugins.tls)?.block.settings.plugins ?? {};
  if (site.scheme === 'dns') return listenBoth(site, how);
  if (site.scheme === 'https') {
    const { listenHttps } = await import('./secure/https-listener.ts');
    const listener = await listenHttps(site, tls, how.handle);
    return { port: listener.port, listeners: [listener] };
  }
  const { listenTls } = await import('./secure/tls-listener.ts');
  const { handle, world } = how;
  const listener = await listenTls(site, tls!, { handle, clock: world.clock });
  return { port: listener.port, listeners: [listener] };
}

type Both = { readonly port: number; readonly listeners: readonly Listener[] };

type How = {
  readonly handle: Handle;
  readonly plain: Plain | undefined;
  readonly world: World;
  readonly workers: number;
};

/** UDP and TCP on the same port, which the kernel chooses for one of them if it is 0. */
async function listenBoth({ host, port }: HostPort, how: How, triesLeft = 5): Promise<Both> {
  const { handle, plain, world } = how;
  const fast = plain && fastPathOf(plain, world);
  const udp = await listenUdpHow({ host, port }, how, fast);
  try {
    const tcp = await listenTcp({ host, port: udp.port }, handle, world.clock, fast);
    return { port: udp.port, listeners: [udp, tcp] };
  } catch (error) {
    await udp.close();
    // A port that is free for UDP may be taken for TCP: another one is not.
    if (port !== 0 || triesLeft === 0) throw error;
    return listenBoth({ host, port }, how, triesLeft - 1);
  }
}

async function listenUdpHow(
  at: HostPort,
  { handle, plain: kept, world: { counters }, workers }: How,
  fast: FastPath | undefined,
): Promise<Listener> {
  if (workers === 0) return listenUdp(at, handle, fast);
  const { listenUdpInWorkers } = await import('./workers/udp-workers.ts');
  return listenUdpInWorkers({ ...at, workers, handle, counters, kept });
}

/** As CoreDNS's metrics name a socket: all addresses have no host. */
function socketLabel({ scheme, host, port }: Site): string {
  const any = host === '::' || host === '0.0.0.0';
  return `${scheme}://${any ? `:${port}` : formatHostPort(host, port)}`;
}

/** A bug answers SERVFAIL and is counted; the server goes on (D79). */
function handlerOf(responder: Responder, counters: DnsCounters, log: Logger | undefined): Handle {
  const failed = (error: unknown, packet: Uint8Array) => {
    counters.panics += 1;
    log?.error({ error: messageOf(error) }, 'a query met a bug');
    return responder.failure(packet);
  };
  return (packet, transport, from) => {
    try {
      const reply = responder.respond(packet, transport, from);
      if (reply instanceof Promise) return reply.catch((error: unknown) => failed(error, packet));
      return reply;
    } catch (error) {
      return failed(error, packet);
    }
  };
}

async function serveAllPages(
  life: Life,
  world: World,
  podResolver: PodResolver | undefined,
): Promise<void> {
  const { counters } = world;
  const explain = explainer(life, world, podResolver);
  const pages = pagesOf(life.blocks, { counters, isReady: () => isReady(life), explain });
  const listeners = Map.groupBy(pages, ({ host, port }) => formatHostPort(host, port));
  await Promise.all(
    [...listeners.values()].map(async (together) => {
      const server = await servePages(together);
      life.closers.push(async () => {
        server.close();
        server.closeAllConnections();
      });
    }),
  );
}

/** The page /explain, loaded when somebody asks for it. */
function explainer(
  life: Life,
  world: World,
  podResolver: PodResolver | undefined,
): HttpPage['page'] {
  let page: Promise<HttpPage['page']> | undefined;
  const load = async () => {
    const { explainPage } = await import('./explain/page.ts');
    const kubernetes = stagesOf(life).find((stage) => stage instanceof KubernetesStage);
    const api = life.blocks.find(({ settings }) => settings.plugins.kubernetes !== undefined)
      ?.settings.plugins.kubernetes?.api;
    return explainPage({
      resolve: life.resolvers[0]!,
      zones: kubernetes?.onlyZones,
      client: api && world.clientFor(api),
      podResolver,
      hostSearch: world.hostSearch.map((name) => formatName(name).slice(0, -1)),
    });
  };
  return async (query) => {
    page ??= load();
    return (await page)(query);
  };
}
