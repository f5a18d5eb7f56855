/**
 * Node ports on loopback addresses (P36). The kernel does not route what comes from 127.0.0.1 to
 * another host, and we do not ask it to (P115): where loopback is asked for by name, a process
 * listens there and hands connections on. TCP only.
 */
import { connect, createServer, type Server, type Socket } from 'node:net';
import { messageOf } from '../../lib/errors.ts';
import { familyOf, formatHostPort } from '../../lib/ip.ts';
import type { Clock } from '../../lib/clock.ts';
import { limits } from '../../lib/limits.ts';
import type { Logger } from '../../lib/log.ts';
import { targetKey, type PortPlan, type ServicePlan, type Target } from '../../plan/types.ts';

/** An endpoint that does not answer within this is given up. */
const DIAL_MS = 5000;
/** A port that somebody else has is tried again after this, or when a Service changes. */
const RETRY_MS = 5000;

export type LocalhostForwarderOptions = {
  readonly log: Logger;
  readonly clock: Clock;
  /** From 0 to below 1. */
  readonly random: () => number;
};

type Pin = { readonly target: string; readonly untilMs: number };

type Listener = {
  readonly server: Server;
  /** The plan in force; it changes under a running listener. */
  port: PortPlan;
  /** The one client there is, localhost, stays with its endpoint as long as it keeps coming. */
  pin: Pin | undefined;
};

export class LocalhostForwarder {
  readonly #options: LocalhostForwarderOptions;
  readonly #ports = new Map<string, readonly PortPlan[]>();
  readonly #listeners = new Map<string, Listener>();
  /** Of listeners that are closed, too. */
  readonly #connections = new Set<Socket>();
  #cancelRetry: (() => void) | undefined;
  #addresses: readonly string[] = [];
  #changed = false;

  constructor(options: LocalhostForwarderOptions) {
    this.#options = options;
  }

  /** Loopback addresses to listen on, from the next `apply`. */
  setAddresses(addresses: readonly string[]): void {
    this.#changed ||= addresses.join() !== this.#addresses.join();
    this.#addresses = addresses;
  }

  /** Replaces the node ports of a Service, from the next `apply`. */
  set(service: string, plan: ServicePlan | undefined): void {
    const ports = (plan?.ports ?? []).filter(
      ({ protocol, nodePort }) => protocol === 'TCP' && nodePort !== undefined,
    );
    if (ports.length === 0 && !this.#ports.has(service)) return;
    if (ports.length > 0) this.#ports.set(service, ports);
    else this.#ports.delete(service);
    this.#changed ||= this.#addresses.length > 0;
  }

  /** Opens and closes listeners. A port without endpoints has none, so it is refused. */
  apply(): void {
    if (!this.#changed) return;
    this.#changed = false;
    const wanted = this.#wanted();
    for (const [key, listener] of this.#listeners) {
      const port = wanted.get(key);
      if (port === undefined) this.#close(key, listener);
      else listener.port = port;
    }
    for (const [key, port] of wanted) if (!this.#listeners.has(key)) this.#open(key, port);
  }

  [Symbol.dispose](): void {
    this.#cancelRetry?.();
    for (const [key, listener] of this.#listeners) this.#close(key, listener);
    for (const socket of this.#connections) socket.destroy();
  }

  #wanted(): Map<string, PortPlan> {
    const wanted = new Map<string, PortPlan>();
    for (const port of [...this.#ports.values()].flat()) {
      if (port.cluster.length === 0) continue;
      for (const address of this.#addresses) {
        if (familyOf(address) !== port.family) continue;
        const key = formatHostPort(address, port.nodePort!);
        if (!wanted.has(key)) wanted.set(key, port);
      }
    }
    return wanted;
  }

  #open(key: string, port: PortPlan): void {
    const server = createServer({ allowHalfOpen: true });
    const listener: Listener = { server, port, pin: undefined };
    this.#listeners.set(key, listener);
    server.maxConnections = limits.localhostConnectionsMax;
    server.on('connection', (client) => this.#forward(client, listener));
    server.on('error', (error) => {
      // A process of the machine has the port: it keeps it (P37).
      this.#options.log.warn({ address: key, error: messageOf(error) }, 'cannot serve node port');
      server.close();
      if (this.#listeners.get(key) === listener) this.#listeners.delete(key);
      this.#retryLater();
    });
    const address = key.slice(0, key.lastIndexOf(':')).replace(/^\[|\]$/g, '');
    server.listen({ host: address, port: port.nodePort!, ipv6Only: true });
    server.unref();
  }

  #retryLater(): void {
    this.#cancelRetry ??= this.#options.clock.after(RETRY_MS, () => {
      this.#cancelRetry = undefined;
      this.#changed = true;
      this.apply();
    });
  }

  /** Running connections go on, as they do when a rule goes. */
  #close(key: string, { server }: Listener): void {
    server.close();
    this.#listeners.delete(key);
  }

  #forward(client: Socket, listener: Listener): void {
    const connections = this.#connections;
    const { address, port } = this.#choose(listener);
    const server = connect({ host: address, port, allowHalfOpen: true });
    const cancel = this.#options.clock.after(DIAL_MS, () => server.destroy());
    server.once('connect', cancel);
    for (const [socket, other] of [
      [client, server],
      [server, client],
    ] as const) {
      connections.add(socket);
      // The end of one direction is passed on; the other one goes on (RFC 9293 §3.6).
      socket.pipe(other);
      socket.on('error', () => other.destroy());
      socket.on('close', (failed) => {
        cancel();
        connections.delete(socket);
        if (failed || !socket.readableEnded) other.destroy();
      });
    }
  }

  /** What starts on the node reaches every endpoint, whatever externalTrafficPolicy says (P60). */
  #choose(listener: Listener): Target {
    const { port, pin } = listener;
    const now = this.#options.clock.monotonicMs();
    const pinned =
      pin !== undefined && pin.untilMs > now
        ? port.cluster.find((target) => targetKey(target) === pin.target)
        : undefined;
    const target =
      pinned ?? port.cluster[Math.floor(this.#options.random() * port.cluster.length)]!;
    listener.pin =
      port.affinitySeconds > 0
        ? { target: targetKey(target), untilMs: now + port.affinitySeconds * 1000 }
        : undefined;
    return target;
  }
}
