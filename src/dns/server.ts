/** The cluster DNS server: sockets, stages, the feed from the API, probes; started and stopped as one. */
import type { Client } from '../client/client.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf } from '../lib/errors.ts';
import type { Logger } from '../lib/log.ts';
import { DnsCounters } from './counters.ts';
import { startFeed, type Feed } from './feed.ts';
import { servePage, type HttpPage } from './health.ts';
import { ownAddresses, withoutSelf } from './own-addresses.ts';
import { Responder } from './respond.ts';
import { listenTcp } from './tcp.ts';
import { listenUdp, type Handle, type Listener } from './udp.ts';
import { Forwarder } from './upstream/forwarder.ts';
import { LoopProbe } from './upstream/loop-probe.ts';
import { parseServer } from './upstream/servers.ts';
import { ZoneData } from './zone/zone-data.ts';
import { createZones, type PodRecords } from './zone/zones.ts';

type HostPort = { readonly host: string; readonly port: number };

export type DnsOptions = {
  readonly client: Client;
  /** The cluster domain, such as `cluster.local`. */
  readonly domain: string;
  /** Each over UDP and TCP. Port 0 lets the kernel choose one, the same for both. */
  readonly listen: readonly HostPort[];
  /** Servers for all other names; none: those names are refused. */
  readonly upstreams: readonly string[];
  readonly ttlSeconds?: number;
  readonly podRecords?: PodRecords;
  readonly strictCoredns?: boolean;
  /** Absent: no such page. */
  readonly health?: HostPort;
  readonly ready?: HostPort;
  readonly metrics?: HostPort;
  /** Asks upstream a question that only a loop brings back; on unless false. */
  readonly loopProbe?: boolean;
  readonly log?: Logger;
  readonly clock?: Clock;
  readonly random?: () => number;
};

export type DnsServer = {
  /** Where it listens, in the order of `listen`. */
  readonly addresses: readonly HostPort[];
  /** Settles when every Service, EndpointSlice and Namespace is known. */
  readonly synced: Promise<void>;
  isReady(): boolean;
  /** Not ready from now on, answers for `lameDuckMs` more, then stops (D97). */
  stop(options?: { readonly lameDuckMs?: number }): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

/** Starts to listen and to follow the API. Answers come at once: SERVFAIL for what is not known yet. */
export async function startDns(options: DnsOptions): Promise<DnsServer> {
  const { client, log, clock = systemClock, random = Math.random } = options;
  const counters = new DnsCounters();
  const data = new ZoneData(() => clock.now());
  const zones = createZones(data, {
    domain: options.domain,
    ttlSeconds: options.ttlSeconds ?? 30,
    podRecords: options.podRecords ?? 'insecure',
    strictCoredns: options.strictCoredns ?? false,
    localAddresses: () => ownAddresses(options.listen),
  });
  const watchPods = zones.podRecords === 'verified';
  const feed = startFeed({ client, data, watchPods, counters, clock, log });
  const servers = withoutSelf(options.upstreams.map(parseServer), options.listen, log);
  const forwarder = servers.length === 0 ? undefined : new Forwarder({ servers, clock, log });
  const probe =
    forwarder === undefined || options.loopProbe === false
      ? undefined
      : new LoopProbe(forwarder, { clock, log });
  const responder = new Responder({
    zones,
    forwarder,
    synced: () => feed.hasSynced(),
    counters,
    random,
    onOutside: (question) => probe?.see(question),
  });
  const life = { stopping: false };
  const closers: (() => Promise<void>)[] = [];
  const stopAll = async (): Promise<void> => {
    feed.stop();
    probe?.stop();
    await Promise.all(closers.splice(0).map((close) => close()));
  };
  try {
    const handle = handlerOf(responder, counters, log);
    const listeners = await listenAll(options.listen, handle, clock, closers);
    await Promise.all(
      pagesOf(options, () => !life.stopping && feed.hasSynced(), { counters, forwarder }).map(
        async (page) => {
          const server = await servePage(page);
          closers.push(async () => {
            server.close();
            server.closeAllConnections();
          });
        },
      ),
    );
    probe?.start();
    const addresses = listeners.map((port, index) => ({ host: options.listen[index]!.host, port }));
    log?.info({ addresses, upstreams: servers, domain: options.domain }, 'answering');
    void feed.synced.then(() => log?.info(data.counts, 'synced'));
    return dnsServer({ addresses, feed, life, clock, stopAll });
  } catch (error) {
    await stopAll();
    throw error;
  }
}

function dnsServer(parts: {
  addresses: readonly HostPort[];
  feed: Feed;
  life: { stopping: boolean };
  clock: Clock;
  stopAll: () => Promise<void>;
}): DnsServer {
  const { addresses, feed, life, clock, stopAll } = parts;
  const stop = async ({ lameDuckMs = 0 } = {}): Promise<void> => {
    life.stopping = true;
    if (lameDuckMs > 0) await new Promise<void>((resolve) => clock.after(lameDuckMs, resolve));
    await stopAll();
  };
  return {
    addresses,
    synced: feed.synced,
    isReady: () => !life.stopping && feed.hasSynced(),
    stop,
    [Symbol.asyncDispose]: () => stop(),
  };
}

/** A bug answers SERVFAIL and is counted; the server goes on (D79). */
function handlerOf(responder: Responder, counters: DnsCounters, log: Logger | undefined): Handle {
  const failed = (error: unknown, packet: Uint8Array) => {
    counters.panics += 1;
    log?.error({ error: messageOf(error) }, 'a query met a bug');
    return responder.failure(packet);
  };
  return (packet, transport) => {
    try {
      const reply = responder.respond(packet, transport);
      if (reply instanceof Promise) return reply.catch((error: unknown) => failed(error, packet));
      return reply;
    } catch (error) {
      return failed(error, packet);
    }
  };
}

/** Listens on each address over UDP, and over TCP on the same port. */
async function listenAll(
  listen: readonly HostPort[],
  handle: Handle,
  clock: Clock,
  closers: (() => Promise<void>)[],
): Promise<number[]> {
  const add = (listener: Listener): Listener => {
    closers.push(() => listener.close());
    return listener;
  };
  const ports = listen.map(async ({ host, port }) => {
    const udp = add(await listenUdp({ host, port }, handle));
    add(await listenTcp({ host, port: udp.port }, handle, clock));
    return udp.port;
  });
  return Promise.all(ports);
}

function pagesOf(
  options: DnsOptions,
  isReady: () => boolean,
  sources: { counters: DnsCounters; forwarder: Forwarder | undefined },
): HttpPage[] {
  const { health, ready, metrics } = options;
  const pages: HttpPage[] = [];
  if (health !== undefined) {
    pages.push({ ...health, path: '/health', page: () => ({ code: 200, body: 'OK' }) });
  }
  if (ready !== undefined) {
    const page = () => (isReady() ? { code: 200, body: 'OK' } : { code: 503, body: 'kubernetes' });
    pages.push({ ...ready, path: '/ready', page });
  }
  if (metrics !== undefined) {
    const page = async () => {
      // The metrics library costs memory and start-up time: only a server that is scraped pays.
      const { metricsPage } = await import('./metrics.ts');
      return metricsPage(sources);
    };
    pages.push({ ...metrics, path: '/metrics', page });
  }
  return pages;
}
