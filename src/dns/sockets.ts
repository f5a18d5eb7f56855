/** The sockets of a configuration. A new configuration takes over those that are open: nobody notices. */
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import type { Block, Plain } from './blocks.ts';
import type { HostPort, Site } from './config/types.ts';
import type { DnsCounters, SocketCounts } from './counters.ts';
import { FastPath, type KeptSource } from './kept/fast-path.ts';
import { Responder } from './respond.ts';
import type { TlsListenSettings } from './secure/tls-options.ts';
import type { Answered, Ask } from './stage.ts';
import { listenTcp } from './tcp.ts';
import { listenUdp, type Handle, type Listener } from './udp.ts';
import type { World } from './world.ts';

/** A zone of one socket with the block that answers for it. */
type Served = { readonly site: Site; readonly block: Block };

/** A listener, or several on the same port, and whoever answers there now. */
type OpenSocket = {
  readonly at: HostPort;
  readonly listeners: readonly Listener[];
  readonly answering: Answering;
  readonly fast: FastPath | undefined;
  /** That answer over UDP; 0: this one does. */
  readonly threads: number;
};

/** Opened for a configuration that does not answer yet. */
type Fresh = readonly [label: string, socket: OpenSocket];

type Answering = { responder: Responder };

export class Sockets {
  readonly #world: World;
  readonly #workers: number;
  readonly #open = new Map<string, OpenSocket>();

  /** `workers`: threads that answer over UDP; 0: this one does. */
  constructor(world: World, workers: number) {
    this.#world = world;
    this.#workers = workers;
  }

  /** Puts a question to the first socket, past its kept answers. */
  resolve(ask: Ask): Answered {
    const [first] = this.#open.values();
    return first!.answering.responder.answer(ask);
  }

  /** In the order of the sites. */
  get addresses(): readonly HostPort[] {
    return [...this.#open.values()].map(({ at }) => at);
  }

  /**
   * Opens what these blocks want, and has them answer. When a socket cannot be opened, those that
   * were open go on as they were.
   */
  async turnTo(blocks: readonly Block[]): Promise<void> {
    const wanted = Map.groupBy(
      blocks.flatMap((block) => block.settings.sites.map((site) => ({ site, block }))),
      ({ site }) => socketLabel(site),
    );
    const fresh = await this.#openMissing(wanted);
    for (const [label, served] of wanted) this.#handOver(label, served);
    const gone = [...this.#open.keys()].filter((label) => !wanted.has(label));
    for (const [label, socket] of fresh) this.#open.set(label, socket);
    await Promise.all(gone.map((label) => this.#close(label)));
  }

  async close(): Promise<void> {
    await Promise.all([...this.#open.keys()].map((label) => this.#close(label)));
  }

  async #close(label: string): Promise<void> {
    const { listeners } = this.#open.get(label)!;
    this.#open.delete(label);
    await Promise.all(listeners.map((listener) => listener.close()));
  }

  async #openMissing(wanted: ReadonlyMap<string, readonly Served[]>): Promise<Fresh[]> {
    const opened = await this.#openAll([...wanted].filter(([label]) => !this.#open.has(label)));
    // Threads have the kept answers of one configuration: their sockets are opened anew. Last, because
    // what is closed for it would be missing if another one could not be opened.
    const renewed = [...wanted].filter(([label, served]) => {
      const open = this.#open.get(label);
      return open !== undefined && (open.threads > 0 || this.#threadsFor(served) > 0);
    });
    await Promise.all(renewed.map(([label]) => this.#close(label)));
    try {
      return [...opened, ...(await this.#openAll(renewed))];
    } catch (error) {
      await closeAll(opened);
      throw error;
    }
  }

  /** All of them or none. */
  async #openAll(missing: readonly (readonly [string, readonly Served[]])[]): Promise<Fresh[]> {
    const opening = missing.map(async ([label, served]): Promise<Fresh> => {
      return [label, await this.#openOne(label, served)];
    });
    const settled = await Promise.allSettled(opening);
    const opened = settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
    const failed = settled.find((one) => one.status === 'rejected');
    if (failed === undefined) return opened;
    await closeAll(opened);
    throw failed.reason;
  }

  async #openOne(label: string, served: readonly Served[]): Promise<OpenSocket> {
    const { site } = served[0]!;
    const answering = { responder: this.#responderOf(label, served) };
    const { counters, log } = this.#world;
    const handle = handlerOf(answering, counters, log);
    const threads = this.#threadsFor(served);
    const kept = keptBy(label, served);
    const how = { handle, kept, world: this.#world, workers: threads, counts: counters.of(label) };
    const { port, listeners, fast } = await listenAt(served, how);
    return { at: { host: site.host, port }, listeners, answering, fast, threads };
  }

  /** `multisocket` counts sockets, each of which has a thread; one is what there is anyway (D78). */
  #threadsFor(served: readonly Served[]): number {
    const wanted = served.map(({ block }) => block.settings.plugins.multisocket ?? 1);
    const most = Math.max(...wanted);
    return most > 1 ? most : this.#workers;
  }

  #responderOf(label: string, served: readonly Served[]): Responder {
    const zones = served.map(({ site: { zone }, block }) => ({ zone, block }));
    const { host } = served[0]!.site;
    const { clock, counters: all } = this.#world;
    const counters = all.of(label);
    return new Responder({ zones, label, host, counters, nowMs: () => clock.monotonicMs() });
  }

  /** From here on the open socket answers for these blocks. */
  #handOver(label: string, served: readonly Served[]): void {
    const socket = this.#open.get(label);
    if (socket === undefined) return;
    socket.answering.responder = this.#responderOf(label, served);
    socket.fast?.use(sourcesOf(keptBy(label, served), this.#world));
    const tls = tlsOf(served);
    if (tls !== undefined) for (const listener of socket.listeners) listener.renew?.(tls);
  }
}

async function closeAll(opened: readonly Fresh[]): Promise<void> {
  const listeners = opened.flatMap(([, socket]) => socket.listeners);
  await Promise.all(listeners.map((listener) => listener.close()));
}

/**
 * The kept answers that go before the blocks of a socket. A question always comes to the same block
 * here; a block that serves another socket too may have been asked there what is another's here.
 */
function keptBy(label: string, served: readonly Served[]): readonly Plain[] {
  const blocks = [...new Set(served.map(({ block }) => block))];
  const onlyHere = blocks.filter(({ settings }) =>
    settings.sites.every((site) => socketLabel(site) === label),
  );
  return onlyHere.map(({ plain }) => plain).filter((plain) => plain !== undefined);
}

function sourcesOf(kept: readonly Plain[], { random }: World): KeptSource[] {
  return kept.map(({ keeper, shuffles, udpBytesMax }) => {
    return { store: keeper.store, random: shuffles ? random : undefined, udpBytesMax };
  });
}

function fastPathOf({ kept, world, counts }: How): FastPath {
  const { counters, clock, log } = world;
  return new FastPath(sourcesOf(kept, world), {
    counts: counts.own,
    nowMs: () => clock.monotonicMs(),
    failed: (error) => {
      counters.panics += 1;
      log?.error({ error: messageOf(error) }, 'a kept answer met a bug');
    },
  });
}

function tlsOf(served: readonly Served[]): TlsListenSettings | undefined {
  return served.map(({ block }) => block.settings.plugins.tls).find((tls) => tls !== undefined);
}

type How = {
  readonly handle: Handle;
  readonly kept: readonly Plain[];
  readonly world: World;
  readonly counts: SocketCounts;
  readonly workers: number;
};

type Opened = {
  readonly port: number;
  readonly listeners: readonly Listener[];
  readonly fast: FastPath | undefined;
};

/** DNS over TLS and HTTPS is loaded where it is wanted: most servers do without. */
async function listenAt(served: readonly Served[], how: How): Promise<Opened> {
  const { site } = served[0]!;
  const { handle, world } = how;
  if (site.scheme === 'dns') return listenBoth(site, how);
  const tls = tlsOf(served);
  const listener =
    site.scheme === 'https'
      ? await (await import('./secure/https-listener.ts')).listenHttps(site, tls, handle)
      : await (
          await import('./secure/tls-listener.ts')
        ).listenTls(site, tls!, {
          handle,
          clock: world.clock,
        });
  return { port: listener.port, listeners: [listener], fast: undefined };
}

/** UDP and TCP on the same port, which the kernel chooses for one of them if it is 0. */
async function listenBoth({ host, port }: HostPort, how: How, triesLeft = 5): Promise<Opened> {
  const { handle, world } = how;
  const { handsOver = false } = world;
  const fast = fastPathOf(how);
  const udp = await listenUdpHow({ host, port }, how, fast);
  try {
    const tcp = await listenTcp({ host, port: udp.port, handsOver }, handle, world.clock, fast);
    return { port: udp.port, listeners: [udp, tcp], fast };
  } catch (error) {
    await udp.close();
    // A port that is free for UDP may be taken for TCP: another one is not.
    if (port !== 0 || triesLeft === 0) throw error;
    return listenBoth({ host, port }, how, triesLeft - 1);
  }
}

async function listenUdpHow(
  at: HostPort,
  { handle, kept, counts: counters, world: { handsOver = false }, workers }: How,
  fast: FastPath,
): Promise<Listener> {
  if (workers === 0) return listenUdp({ ...at, handsOver }, handle, fast);
  const { listenUdpInWorkers } = await import('./workers/udp-workers.ts');
  return listenUdpInWorkers({ ...at, workers, handle, counters, kept });
}

/** As CoreDNS's metrics name a socket: all addresses have no host. */
export function socketLabel({ scheme, host, port }: Site): string {
  const any = host === '::' || host === '0.0.0.0';
  return `${scheme}://${any ? `:${port}` : formatHostPort(host, port)}`;
}

/** A bug answers SERVFAIL and is counted; the server goes on (D79). */
function handlerOf(answering: Answering, counters: DnsCounters, log: Logger | undefined): Handle {
  const failed = (error: unknown, packet: Uint8Array) => {
    counters.panics += 1;
    log?.error({ error: messageOf(error) }, 'a query met a bug');
    return answering.responder.failure(packet);
  };
  return (packet, transport, from) => {
    try {
      const reply = answering.responder.respond(packet, transport, from);
      if (reply instanceof Promise) return reply.catch((error: unknown) => failed(error, packet));
      return reply;
    } catch (error) {
      return failed(error, packet);
    }
  };
}
