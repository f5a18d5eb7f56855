/** The DNS server: a configuration at work on its sockets, with its probes; started and stopped as one. */
import type { Client } from '../client/client.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import { makeBlock, type Block } from './blocks.ts';
import { configurationOf, type ServeOptions } from './config/from-options.ts';
import type { ApiSettings, Configuration, Site } from './config/types.ts';
import { DnsCounters } from './counters.ts';
import { printLine } from './print-line.ts';
import { servePage } from './health.ts';
import { pagesOf } from './pages.ts';
import { FastPath } from './kept/fast-path.ts';
import { Responder } from './respond.ts';
import { listenTcp } from './tcp.ts';
import { listenUdp, type Handle, type Listener } from './udp.ts';
import { parseServer } from './upstream/servers.ts';
import type { Name } from './wire/name.ts';
import type { World } from './world.ts';
import { root } from './wire/name.ts';

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
  const life: Life = { stopping: false, blocks: [], closers: [] };
  try {
    for (const settings of configuration.blocks) {
      life.blocks.push(await makeBlock(settings, world));
    }
    const synced = Promise.all(life.blocks.map((block) => block.synced));
    await Promise.race([synced, waitBeforeListening(configuration, clock)]);
    const addresses = await listenAll(life, world);
    await serveAllPages(life, counters);
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

type Life = { stopping: boolean; blocks: Block[]; closers: (() => Promise<void>)[] };

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
    const { counters, log, clock } = world;
    const responder = new Responder({ zones, label: socketLabel(site), host: site.host, counters });
    const handle = handlerOf(responder, counters, log);
    const fast = fastPathOf(served, world);
    const { port, listeners } = await listenBoth(site, { handle, fast, clock });
    for (const listener of listeners) life.closers.push(() => listener.close());
    return { host: site.host, port };
  });
  return Promise.all(listening);
}

/** Where one block answers whatever is asked there, kept answers go before it. */
function fastPathOf(
  served: readonly { readonly site: Site; readonly block: Block }[],
  { counters, clock, random }: World,
): FastPath | undefined {
  const [{ site, block }, ...more] = served as [(typeof served)[0], ...typeof served];
  if (more.length > 0 || site.zone !== root || block.plain === undefined) return undefined;
  const { keeper, cache, shuffles } = block.plain;
  return new FastPath({
    source: { store: keeper.store, cache },
    counters,
    nowMs: () => clock.monotonicMs(),
    random: shuffles ? random : undefined,
  });
}

type Both = { readonly port: number; readonly listeners: readonly Listener[] };

/** UDP and TCP on the same port, which the kernel chooses for one of them if it is 0. */
async function listenBoth(
  { host, port }: HostPort,
  how: { readonly handle: Handle; readonly fast: FastPath | undefined; readonly clock: Clock },
  triesLeft = 5,
): Promise<Both> {
  const { handle, fast, clock } = how;
  const udp = await listenUdp({ host, port }, handle, fast);
  try {
    const tcp = await listenTcp({ host, port: udp.port }, handle, clock, fast);
    return { port: udp.port, listeners: [udp, tcp] };
  } catch (error) {
    await udp.close();
    // A port that is free for UDP may be taken for TCP: another one is not.
    if (port !== 0 || triesLeft === 0) throw error;
    return listenBoth({ host, port }, how, triesLeft - 1);
  }
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

async function serveAllPages(life: Life, counters: DnsCounters): Promise<void> {
  const pages = pagesOf(life.blocks, { counters, isReady: () => isReady(life) });
  await Promise.all(
    pages.map(async (page) => {
      const server = await servePage(page);
      life.closers.push(async () => {
        server.close();
        server.closeAllConnections();
      });
    }),
  );
}
