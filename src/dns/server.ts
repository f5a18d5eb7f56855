/** The DNS server: a configuration at work on its sockets, with its probes; started and stopped as one. */
import type { Client } from '../client/client.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import { makeBlock, type Block, type World } from './blocks.ts';
import { configurationOf, type ServeOptions } from './config/from-options.ts';
import type { Configuration, KubernetesSettings, Site } from './config/types.ts';
import { DnsCounters } from './counters.ts';
import { servePage } from './health.ts';
import { withoutSelf } from './own-addresses.ts';
import { pagesOf } from './pages.ts';
import { Responder } from './respond.ts';
import { listenTcp } from './tcp.ts';
import { listenUdp, type Handle } from './udp.ts';
import { parseServer } from './upstream/servers.ts';

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
  const { client, log, listen } = options;
  const upstreams = withoutSelf(options.upstreams.map(parseServer), listen, log);
  const configuration = configurationOf({ ...options, upstreams });
  log?.info({ upstreams, domain: options.domain }, 'starting');
  return serve(configuration, { ...options, clientFor: () => client });
}

/** Starts to listen and to follow the API. Answers come at once: SERVFAIL for what is not known yet. */
export async function serve(
  configuration: Configuration,
  surroundings: Surroundings & { readonly clientFor: (settings: KubernetesSettings) => Client },
): Promise<DnsServer> {
  const { clientFor, log, clock = systemClock, random = Math.random } = surroundings;
  const counters = new DnsCounters();
  const world: World = { clientFor, counters, clock, random, log };
  const life: Life = { stopping: false, blocks: [], closers: [] };
  try {
    for (const settings of configuration.blocks) {
      life.blocks.push(await makeBlock(settings, world));
    }
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
    const responder = new Responder({ zones, label: socketLabel(site), counters });
    const handle = handlerOf(responder, counters, log);
    const udp = await listenUdp(site, handle);
    life.closers.push(() => udp.close());
    const tcp = await listenTcp({ host: site.host, port: udp.port }, handle, clock);
    life.closers.push(() => tcp.close());
    return { host: site.host, port: udp.port };
  });
  return Promise.all(listening);
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
