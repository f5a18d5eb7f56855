/** One server: the ways to ask it, and whether it lives. */
import { randomBytes } from 'node:crypto';
import { readFileSync } from 'node:fs';

import type { Clock } from '../../lib/clock.ts';
import { WorldError } from '../../lib/errors.ts';
import type { ForwardSettings, TlsFiles } from '../config/types.ts';
import { Histogram } from '../counters.ts';
import { dnsLimits } from '../limits.ts';
import { encodeMessage } from '../wire/encode.ts';
import { CLASS, FLAG, rcodeOf, TYPE, type Message, type Question } from '../wire/message.ts';
import { nameBytesMax } from '../wire/name.ts';
import { withinBailiwick } from './bailiwick.ts';
import { askUdp, type Ask } from './exchange.ts';
import type { HttpsClient } from './https.ts';
import { queryFor, type ForwardOptions } from './query-for.ts';
import type { Server } from './servers.ts';
import { inRandomCase, respelled } from './spelling.ts';
import { StreamClient } from './stream.ts';

export class Upstream {
  readonly server: Server;
  readonly #settings: ForwardSettings;
  readonly #clock: Clock;
  readonly #stream: StreamClient;
  #https: Promise<HttpsClient> | undefined;
  /** Until then it is asked only after the others. */
  shunnedUntilMs = 0;
  /** Failed probes since the last good one. */
  #fails = 0;
  /** Whether it repeats a question letter by letter, as nearly all do. */
  #keepsCase = true;
  #cancelProbe: (() => void) | undefined;
  #stopped = false;
  readonly counts = { probesFailed: 0, datagrams: 0 };
  /** Until it answered, by response code, with CoreDNS's bounds. */
  readonly seconds = new Map<number, Histogram>();

  constructor(server: Server, settings: ForwardSettings, clock: Clock) {
    this.server = server;
    this.#settings = settings;
    this.#clock = clock;
    const { expireMs, maxAgeMs, maxIdle, sourceAddress } = settings;
    const limits = { expireMs, maxAgeMs, maxIdle, sourceAddress };
    const tls = server.scheme === 'tls' ? { tls: this.#tlsOptions() } : {};
    this.#stream = new StreamClient({ server, clock, ...limits, ...tls });
  }

  /** Connections that were opened, and questions that found one open. */
  get connections(): { readonly opened: number; readonly reused: number } {
    return this.#stream.counts;
  }

  /** Down after more failed probes than allowed (D90d). */
  isDown(): boolean {
    return this.#settings.maxFails > 0 && this.#fails > this.#settings.maxFails;
  }

  /** The reply; a failure is followed by probes until the server answers again. */
  async ask(question: Question, options: ForwardOptions, timeoutMs: number): Promise<Message> {
    const startedMs = this.#clock.monotonicMs();
    try {
      const reply = await this.#exchange(question, options, timeoutMs);
      this.#timed(rcodeOf(reply), this.#clock.monotonicMs() - startedMs);
      this.shunnedUntilMs = 0;
      return { ...withinBailiwick(reply), questions: [question] };
    } catch (error) {
      if (error instanceof WorldError) {
        this.shunnedUntilMs = this.#clock.monotonicMs() + dnsLimits.upstreamShunMs;
        if (this.#settings.maxFails > 0) this.#startProbing();
      }
      throw error;
    }
  }

  #timed(rcode: number, ms: number): void {
    const seconds = this.seconds.get(rcode) ?? new Histogram(16, 0.00025);
    this.seconds.set(rcode, seconds);
    seconds.observe(ms / 1000);
  }

  stop(): void {
    this.#stopped = true;
    this.#cancelProbe?.();
    this.#stream.close();
    void this.#https?.then((client) => client.close());
  }

  async #exchange(
    question: Question,
    options: ForwardOptions,
    timeoutMs: number,
  ): Promise<Message> {
    const { scheme } = this.server;
    if (scheme === 'dns' && !this.#settings.forceTcp) {
      return this.#overUdp(question, options, timeoutMs);
    }
    const ask = this.#askFor(queryFor(question, options), timeoutMs);
    return scheme === 'https' ? (await this.#httpsClient()).ask(ask) : this.#overStream(ask);
  }

  #askFor(query: Message, timeoutMs: number): Ask {
    const { server } = this;
    return { server, query, packet: encodeMessage(query), timeoutMs, clock: this.#clock };
  }

  /** A connection that was open already may have been closed meanwhile: a fresh one is tried once. */
  async #overStream(ask: Ask): Promise<Message> {
    const { reused } = this.#stream.counts;
    const startedMs = this.#clock.monotonicMs();
    try {
      return await this.#stream.ask(ask);
    } catch (error) {
      const leftMs = ask.timeoutMs - (this.#clock.monotonicMs() - startedMs);
      if (this.#stream.counts.reused === reused || leftMs <= 0) throw error;
      return this.#stream.ask({ ...ask, timeoutMs: leftMs });
    }
  }

  /**
   * Over UDP, and over TCP when the reply was cut: the cache then has all of it. From a server that
   * does not speak TCP the client gets the cut reply, as from CoreDNS (D90b). A reply that does not
   * repeat the question letter by letter may be forged: that too is settled over TCP.
   */
  async #overUdp(question: Question, options: ForwardOptions, timeoutMs: number): Promise<Message> {
    const deadline = this.#clock.monotonicMs() + timeoutMs;
    const leftMs = () => Math.max(0, deadline - this.#clock.monotonicMs());
    const name = this.#keepsCase
      ? inRandomCase(question.name, randomBytes(nameBytesMax >> 3))
      : question.name;
    const query = queryFor({ ...question, name }, options);
    const ask = this.#askFor(query, timeoutMs);
    this.counts.datagrams += 1;
    const first = await askUdp(ask, this.#settings.sourceAddress);
    const isAsAsked = !this.#keepsCase || isRepeated(query, first);
    const isCut = (first.flags & FLAG.TC) !== 0;
    const message =
      isAsAsked && !isCut
        ? first
        : await this.#overTcp({ ...ask, timeoutMs: leftMs() }, isAsAsked ? first : undefined);
    if (message === undefined) {
      // It neither repeats the spelling nor speaks TCP: we cannot ask for more than it gives.
      this.#keepsCase = false;
      return this.#overUdp(question, options, leftMs());
    }
    if (!isAsAsked && !isRepeated(query, message)) this.#keepsCase = false;
    return respelled(message, name, question.name);
  }

  /** The reply that cannot be cut and hardly forged, or else the other one. */
  async #overTcp(ask: Ask, otherwise: Message | undefined): Promise<Message | undefined> {
    try {
      return await this.#stream.ask(ask);
    } catch (error) {
      if (error instanceof WorldError) return otherwise;
      throw error;
    }
  }

  #httpsClient(): Promise<HttpsClient> {
    const { dohMethod: method, expireMs } = this.#settings;
    const { server } = this;
    this.#https ??= import('./https.ts').then(
      ({ HttpsClient: Client }) =>
        new Client({ server, method, expireMs, tls: this.#tlsOptions() }),
    );
    return this.#https;
  }

  #tlsOptions() {
    const { tls, tlsServerName } = this.#settings;
    const name = this.server.serverName ?? tlsServerName;
    return { ...readTlsFiles(tls), ...(name === undefined ? {} : { servername: name }) };
  }

  /** Once after a failure, and then again and again until there is a reply. */
  #startProbing(): void {
    if (this.#cancelProbe !== undefined || this.#stopped) return;
    this.#cancelProbe = () => undefined;
    void this.#probe();
  }

  async #probe(): Promise<void> {
    try {
      const { domain: name, recursionDesired } = this.#settings.healthCheck;
      const question = { name, type: TYPE.NS, class: CLASS.IN };
      const options = { flags: recursionDesired ? FLAG.RD : 0, edns: false, dnssecOk: false };
      // Any reply will do.
      await this.#exchange(question, options, dnsLimits.upstreamProbeMs);
      this.#fails = 0;
      this.#cancelProbe = undefined;
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.#fails += 1;
      this.counts.probesFailed += 1;
      if (this.#stopped) return;
      const { intervalMs } = this.#settings.healthCheck;
      this.#cancelProbe = this.#clock.after(intervalMs, () => void this.#probe());
    }
  }
}

/** Whether the reply has the question letter by letter. */
function isRepeated(query: Message, reply: Message): boolean {
  return query.questions[0]!.name === reply.questions[0]!.name;
}

/** The texts of the files that are named. */
export function readTlsFiles({ cert, key, ca }: TlsFiles) {
  return {
    ...(cert === undefined ? {} : { cert: readFileSync(cert, 'utf8') }),
    ...(key === undefined ? {} : { key: readFileSync(key, 'utf8') }),
    ...(ca === undefined ? {} : { ca: readFileSync(ca, 'utf8') }),
  };
}
