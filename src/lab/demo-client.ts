/**
 * The asking side of the demo. It runs inside a pod's network (started there with `nsenter`), resolves
 * names through the cluster's DNS with the pod's search list, and prints what it saw as one line of JSON.
 */
import { Resolver } from 'node:dns/promises';
import { createSocket } from 'node:dgram';
import { request } from 'node:http';
import { connect, isIP } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';
import { messageOf } from '../lib/errors.ts';
import { formatHostPort } from '../lib/ip.ts';

export type Question =
  /** `count` requests, one after the other; answers are counted by their text. */
  | { readonly kind: 'http'; readonly url: string; readonly count: number }
  | {
      readonly kind: 'tcp' | 'udp';
      readonly host: string;
      readonly port: number;
      readonly text: string;
    }
  | {
      readonly kind: 'dns';
      readonly name: string;
      readonly type: 'A' | 'AAAA' | 'SRV' | 'CNAME' | 'PTR';
    }
  /** `perSecond` requests for `seconds`, each on a connection of its own. */
  | {
      readonly kind: 'load';
      readonly url: string;
      readonly perSecond: number;
      readonly seconds: number;
    };

export type Answer = {
  /** How often each text came back. */
  readonly counts: Record<string, number>;
  readonly failures: Record<string, number>;
};

export type Asker = {
  readonly dns: readonly string[];
  readonly search: readonly string[];
  readonly questions: readonly Question[];
};

/** One request may take this long; a Service that works answers in a millisecond. */
const timeoutMs = 2000;

export async function ask(asker: Asker): Promise<Answer[]> {
  const names = new Names(asker.dns, asker.search);
  const answers: Answer[] = [];
  for (const question of asker.questions) answers.push(await answerOf(question, names));
  return answers;
}

async function answerOf(question: Question, names: Names): Promise<Answer> {
  const tally = new Tally();
  switch (question.kind) {
    case 'http':
      for (let sent = 0; sent < question.count; sent += 1)
        await tally.take(() => get(question.url, names));
      break;
    case 'tcp':
      await tally.take(async () => sayTcp(await names.address(question.host), question));
      break;
    case 'udp':
      await tally.take(async () => sayUdp(await names.address(question.host), question));
      break;
    case 'dns':
      for (const record of await names
        .records(question.name, question.type)
        .catch((error) => [messageOf(error)]))
        tally.add(record);
      break;
    case 'load':
      await load(question, names, tally);
      break;
  }
  return { counts: tally.counts, failures: tally.failures };
}

async function load(
  question: Extract<Question, { kind: 'load' }>,
  names: Names,
  tally: Tally,
): Promise<void> {
  const started = performance.now();
  const total = question.perSecond * question.seconds;
  const running = new Set<Promise<void>>();
  for (let sent = 0; sent < total; sent += 1) {
    const due = started + (sent * 1000) / question.perSecond;
    if (due > performance.now()) await sleep(due - performance.now());
    const one = tally.take(() => get(question.url, names)).then(() => void running.delete(one));
    running.add(one);
  }
  await Promise.all(running);
}

class Tally {
  readonly counts: Record<string, number> = {};
  readonly failures: Record<string, number> = {};

  add(text: string): void {
    this.counts[text] = (this.counts[text] ?? 0) + 1;
  }

  async take(work: () => Promise<string>): Promise<void> {
    try {
      this.add(await work());
    } catch (error) {
      const text = (error as NodeJS.ErrnoException).code ?? messageOf(error);
      this.failures[text] = (this.failures[text] ?? 0) + 1;
    }
  }
}

/** Names as a libc resolver with `ndots:5` sees them: the search list first. */
class Names {
  readonly #resolver = new Resolver({ timeout: timeoutMs, tries: 2 });
  readonly #search: readonly string[];
  readonly #known = new Map<string, string>();

  constructor(servers: readonly string[], search: readonly string[]) {
    this.#resolver.setServers(servers.map((server) => formatHostPort(server, 53)));
    this.#search = search;
  }

  /** The first address of a name; asked once, as a client that keeps its answer for a moment. */
  async address(host: string): Promise<string> {
    if (isIP(host) !== 0) return host;
    const known = this.#known.get(host);
    if (known !== undefined) return known;
    const [address] = await this.records(host, 'A').catch(() => this.records(host, 'AAAA'));
    if (address === undefined) throw new Error(`no address for ${host}`);
    this.#known.set(host, address);
    return address;
  }

  async records(name: string, type: 'A' | 'AAAA' | 'SRV' | 'CNAME' | 'PTR'): Promise<string[]> {
    let last: unknown = new Error(`no name to ask for`);
    for (const candidate of this.#candidates(name)) {
      try {
        return await this.#ask(candidate, type);
      } catch (error) {
        last = error;
      }
    }
    throw last;
  }

  #candidates(name: string): string[] {
    if (name.endsWith('.')) return [name.slice(0, -1)];
    return [...this.#search.map((suffix) => `${name}.${suffix}`), name];
  }

  async #ask(name: string, type: 'A' | 'AAAA' | 'SRV' | 'CNAME' | 'PTR'): Promise<string[]> {
    if (type === 'SRV') {
      const found = await this.#resolver.resolveSrv(name);
      return found.map((record) => `${record.name}:${record.port}`).toSorted();
    }
    return (await this.#resolver.resolve(name, type)).map(String).toSorted();
  }
}

async function get(url: string, names: Names): Promise<string> {
  const { hostname, port, pathname, search, host } = new URL(url);
  const address = await names.address(hostname.replace(/^\[|\]$/g, ''));
  return new Promise((resolve, reject) => {
    const options = {
      host: address,
      port: port === '' ? 80 : Number(port),
      path: pathname + search,
      headers: { host },
      agent: false,
      timeout: timeoutMs,
    };
    const sent = request(options, (response) => {
      let body = '';
      response.setEncoding('utf8');
      response.on('data', (chunk: string) => (body += chunk));
      response.on('end', () =>
        response.statusCode === 200
          ? resolve(body.trim())
          : reject(new Error(`HTTP ${response.statusCode}`)),
      );
      response.on('error', reject);
    });
    sent.on('timeout', () =>
      sent.destroy(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })),
    );
    sent.on('error', reject);
    sent.end();
  });
}

function sayTcp(address: string, question: { port: number; text: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = connect({ host: address, port: question.port });
    socket.setTimeout(timeoutMs, () =>
      socket.destroy(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' })),
    );
    socket.on('connect', () => socket.write(`${question.text}\n`));
    socket.once('data', (data: Buffer) => {
      socket.destroy();
      resolve(firstLine(data));
    });
    socket.on('error', reject);
  });
}

function sayUdp(address: string, question: { port: number; text: string }): Promise<string> {
  return new Promise((resolve, reject) => {
    const socket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const timer = setTimeout(
      () => finish(() => reject(Object.assign(new Error('timed out'), { code: 'ETIMEDOUT' }))),
      timeoutMs,
    );
    const finish = (then: () => void) => {
      clearTimeout(timer);
      socket.close();
      then();
    };
    socket.on('message', (data) => finish(() => resolve(firstLine(data))));
    socket.on('error', (error) => finish(() => reject(error)));
    socket.connect(question.port, address, () => socket.send(question.text));
  });
}

function firstLine(data: Uint8Array): string {
  return Buffer.from(data).toString('utf8').split('\n')[0]!.trim();
}
