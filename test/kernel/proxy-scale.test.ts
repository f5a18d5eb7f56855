/**
 * A change costs what it changes, however many Services there are; and many changes are many
 * transactions, none of which keeps the kernel's lock for long.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import type { KubeObject } from '../../src/api/meta.ts';
import { resources } from '../../src/api/resources.ts';
import type { EndpointSlice, Service } from '../../src/api/types.ts';
import type { Client, List, WatchEvent } from '../../src/client/client.ts';
import type { Proxy, Sync } from '../../src/proxy/options.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';

const SERVICES = 1000;
const ENDPOINTS = 10;
const log = { error: console.error, warn() {}, info() {}, debug() {} } as never;

/** Lists that are there already, and a watch that is told what to bring: the edge of the proxy. */
class Source {
  readonly #services: Service[];
  readonly #slices: EndpointSlice[];
  #bring: ((event: WatchEvent<KubeObject>) => void) | undefined;
  #version = 10;

  constructor(count: number) {
    const all = Array.from({ length: count }, (_, index) => index);
    this.#services = all.map(serviceAt);
    this.#slices = all.map((index) => sliceAt(index, 0));
  }

  /** The slice of a Service gets another last endpoint. */
  change(index: number, round: number): void {
    this.#version += 1;
    const slice = sliceAt(index, round);
    const metadata = { ...slice.metadata, resourceVersion: String(this.#version) };
    this.#bring?.({ type: 'MODIFIED', object: { ...slice, metadata } });
  }

  get client(): Client {
    const list = async (resource: { resource: string }): Promise<List<KubeObject>> => ({
      items: { services: this.#services, endpointslices: this.#slices }[resource.resource] ?? [],
      resourceVersion: '10',
    });
    const watch = (resource: { resource: string }, options: { signal: AbortSignal }) =>
      this.#watch(resource.resource === resources.endpointslices.resource, options.signal);
    return { list, watch } as unknown as Client;
  }

  async *#watch(slices: boolean, signal: AbortSignal): AsyncGenerator<WatchEvent<KubeObject>> {
    const waiting: WatchEvent<KubeObject>[] = [];
    let wake = () => {};
    if (slices) {
      this.#bring = (event) => {
        waiting.push(event);
        wake();
      };
    }
    signal.addEventListener('abort', () => wake());
    while (!signal.aborted) {
      yield* waiting.splice(0);
      const { promise, resolve } = Promise.withResolvers<void>();
      wake = resolve;
      if (waiting.length === 0 && !signal.aborted) await promise;
    }
  }
}

function serviceAt(index: number): Service {
  const clusterIP = `10.96.${index >> 8}.${index & 255}`;
  return {
    metadata: { namespace: 'load', name: `svc-${index}`, resourceVersion: '1' },
    spec: { type: 'ClusterIP', clusterIP, clusterIPs: [clusterIP], ports: [{ port: 80 }] },
  };
}

function sliceAt(index: number, round: number): EndpointSlice {
  const name = `svc-${index}`;
  const address = (at: number) => `10.${128 + at}.${index >> 8}.${index & 255}`;
  return {
    metadata: {
      namespace: 'load',
      name,
      resourceVersion: '1',
      labels: { 'kubernetes.io/service-name': name },
    },
    addressType: 'IPv4',
    endpoints: Array.from({ length: ENDPOINTS }, (_, at) => ({
      addresses: [address(at === ENDPOINTS - 1 ? at + round : at)],
      nodeName: 'node-2',
    })),
    ports: [{ name: '', port: 8080 }],
  };
}

type Run = { readonly proxy: Proxy; readonly source: Source; readonly syncs: Sync[] };

async function start(count: number): Promise<Run> {
  const source = new Source(count);
  const syncs: Sync[] = [];
  const proxy = await startProxy({
    client: source.client,
    nodeName: 'node-1',
    nodeIPs: ['172.29.0.11'],
    detectLocal: { mode: 'ClusterCIDR', cidrs: ['10.128.0.0/9'] },
    serviceCidrs: ['10.96.0.0/16'],
    log,
    onSync: (sync) => syncs.push(sync),
  });
  await proxy.ready;
  return { proxy, source, syncs };
}

/** One change after the other; what each of them was for the kernel. */
async function change(run: Run, services: readonly number[], round: number): Promise<Sync[]> {
  const before = run.syncs.length;
  for (const [at, index] of services.entries()) {
    run.source.change(index, round);
    const end = performance.now() + 5000;
    while (run.syncs.length <= before + at) {
      assert(performance.now() < end, 'no sync followed');
      await sleep(1);
    }
  }
  return run.syncs.slice(before);
}

let few: Sync[] = [];
let many: Run;

before(async () => {
  const small = await start(10);
  few = await change(small, [1, 5, 9], 1);
  await small.proxy.stop();
  execFileSync('nft', ['flush', 'ruleset']);
  many = await start(SERVICES);
});
after(async () => await many.proxy.stop());

test('[X3] a cold start is many transactions, and every one of them is small', () => {
  const text = execFileSync('nft', ['list', 'map', 'ip', 'fairlead', 'endpoints'], {
    encoding: 'utf8',
    maxBuffer: 64 * 1024 * 1024,
  });
  assert.equal(text.match(/0x\w+ \. 0x\w+ : /g)?.length, SERVICES * ENDPOINTS);
  const sent = many.syncs.map((sync) => sync.sent);
  assert(sent.length >= 3, `${sent.length} syncs`);
  for (const { bytesMax } of sent) assert(bytesMax < 512 * 1024, `${bytesMax} bytes at once`);
  const written = many.syncs.reduce((sum, { writes }) => sum + writes, 0);
  assert(written >= SERVICES * (ENDPOINTS + 1), `${written} writes`);
});

test('[X3] a change sends and reads the same with 10 Services and with 1,000', async () => {
  const after = await change(many, [7, 500, 999], 1);
  for (const [at, { sent, writes, services }] of after.entries()) {
    assert.equal(services, 1);
    assert.equal(writes, few[at]!.writes);
    assert.equal(sent.transactions, 1);
    assert.equal(sent.messages, few[at]!.sent.messages);
    assert.equal(sent.bytes, few[at]!.sent.bytes);
    assert(sent.bytes < 512, `${sent.bytes} bytes for one endpoint`);
    // An acknowledgement, and now and then the generation: nothing is listed.
    assert(sent.bytesRead < 1024, `${sent.bytesRead} bytes read`);
  }
});

test('[X3] nft sees two elements change, and nothing else', async (t) => {
  const monitor = spawn('nft', ['monitor'], {
    stdio: ['ignore', 'pipe', 'inherit'],
  });
  t.after(() => monitor.kill());
  let text = '';
  monitor.stdout.on('data', (data: Buffer) => (text += data.toString()));
  await once(monitor, 'spawn');
  // It reads everything first and has no word for being ready: a table shows when it listens.
  const end = performance.now() + 30_000;
  for (let tries = 0; !text.includes('probe'); tries += 1) {
    assert(performance.now() < end, 'nft monitor shows nothing');
    execFileSync('nft', ['add', 'table', 'ip', `probe${tries}`]);
    await sleep(200);
  }
  await sleep(200);
  text = '';
  await change(many, [42], 2);
  for (let tries = 0; !/new generation/.test(text); tries += 1) {
    assert(tries < 100, text);
    await sleep(20);
  }
  const lines = text.split('\n').filter((line) => line.includes('element'));
  assert.deepEqual(
    lines.map((line) => line.split(' ').slice(0, 5).join(' ')).toSorted(),
    ['add element ip fairlead endpoints', 'delete element ip fairlead endpoints'],
    text,
  );
});

test('[X3] a thousand changes at once are few transactions, each of them small', async () => {
  const before = many.syncs.length;
  for (let index = 0; index < SERVICES; index += 1) many.source.change(index, 3);
  const written = () => many.syncs.slice(before).reduce((sum, { writes }) => sum + writes, 0);
  for (let tries = 0; written() < SERVICES; tries += 1) {
    assert(tries < 500, `${written()} writes`);
    await sleep(10);
  }
  const syncs = many.syncs.slice(before);
  assert(syncs.length <= 20, `${syncs.length} transactions`);
  for (const { sent } of syncs) assert(sent.bytesMax < 512 * 1024);
});
