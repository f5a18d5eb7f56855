/** What the tests of LoadBalancer Services share: manifests, addresses, what pods saw, load. */
import assert from 'node:assert/strict';
import { request } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import type { Service } from '../../src/api/types.ts';
import { eventually, type Cluster } from './harness.ts';
import { httpAnswers, type Place } from './places.ts';

export const hostAddress = { ipv4: '172.29.0.1', ipv6: 'fd00:172:29::1' } as const;
export type Family = keyof typeof hostAddress;

export const pod = (name: string, node: string, app = 'web') => `
apiVersion: v1
kind: Pod
metadata: {name: ${name}, labels: {app: ${app}}}
spec:
  nodeName: ${node}
  containers:
  - name: echo
    image: fairlead/echo
    readinessProbe: {httpGet: {path: /healthz, port: 8080}, periodSeconds: 1}
---`;

export const service = (name: string, more = '', annotations = '', app = 'web') => `
apiVersion: v1
kind: Service
metadata: {name: ${name}, annotations: {${annotations}}}
spec:
  type: LoadBalancer
  ipFamilyPolicy: PreferDualStack
  selector: {app: ${app}}
  ports:
  - {name: http, port: 80, targetPort: 8080}
  - {name: udp, port: 80, targetPort: 8080, protocol: UDP}
  ${more}
---`;

/** The addresses of a Service, once it has them. */
export async function addressesOf(cluster: Cluster, name: string): Promise<string[]> {
  return await eventually(`an address of ${name}`, async () => {
    const { status } = await cluster.json<Service>('service', name);
    const ips = status?.loadBalancer?.ingress?.map(({ ip = '' }) => ip) ?? [];
    return ips.length > 0 && ips;
  });
}

export async function addressOf(cluster: Cluster, name: string, family: Family): Promise<string> {
  const ips = await addressesOf(cluster, name);
  const ip = ips.find((one) => one.includes(':') === (family === 'ipv6'));
  assert.ok(ip, `${name} has no ${family} address: ${ips.join(', ')}`);
  return ip;
}

/** A field of what the echo server says. */
export const fieldOf = (answer: string | undefined, name: string) =>
  new RegExp(`${name}=(\\[[^\\]]*\\]|[^ :]*)`).exec(answer ?? '')?.[1]?.replaceAll(/[[\]]/g, '');

/** What the pods saw of so many requests, sorted and without repeats. */
export async function seen(
  from: Place,
  address: string,
  what: 'client' | 'pod' | 'node',
  times = 12,
) {
  const lines = await httpAnswers(from, { address, port: 80 }, '/', times);
  // Each answer ends with an end of line of its own.
  const answers = lines.filter((line) => line !== '');
  assert.equal(answers.length, times, `${times - answers.length} of ${times} got no answer`);
  return [...new Set(answers.map((answer) => fieldOf(answer, what) ?? ''))].toSorted();
}

/** Requests from the host at a fixed rate, each on a connection of its own. */
export class Load {
  readonly results: { at: number; ok: boolean }[] = [];
  readonly #timer: NodeJS.Timeout;
  #open = 0;

  /** An answer later than `timeoutMs` counts as none; a busy machine may be slow. */
  constructor(address: string, perSecond: number, timeoutMs = 8000) {
    this.#timer = setInterval(() => this.#ask(address, timeoutMs), 1000 / perSecond);
  }

  #ask(host: string, timeout: number): void {
    const started = performance.now();
    this.#open += 1;
    let over = false;
    const end = (ok: boolean) => {
      if (over) return;
      over = true;
      this.#open -= 1;
      this.results.push({ at: started, ok });
    };
    const ask = request({ host, port: 80, path: '/hostname', agent: false, timeout });
    ask.on('response', (response) => {
      response.resume();
      response.on('end', () => end(response.statusCode === 200));
    });
    ask.on('timeout', () => {
      ask.destroy();
      end(false);
    });
    ask.on('error', () => end(false));
    ask.end();
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    while (this.#open > 0) await sleep(20);
  }

  /** Milliseconds from `since` to the start of the last request that failed; 0 when none did. */
  lastFailure(since: number): number {
    return Math.max(0, ...this.results.filter(({ ok }) => !ok).map(({ at: time }) => time - since));
  }
}
