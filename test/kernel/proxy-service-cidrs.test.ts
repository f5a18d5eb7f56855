/** Service ranges from ServiceCIDR objects of an API server that is not ours (P92). */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSecureServer, type IncomingHttpHeaders, type ServerHttp2Stream } from 'node:http2';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';

import { createHttpClient, type HttpClient } from '../../src/client/http-client.ts';
import type { Proxy } from '../../src/proxy/options.ts';
import { startProxy } from '../../src/proxy/service-proxy.ts';
import { ADDRESSES, ip } from './proxy-topology.ts';

const PATH = '/apis/networking.k8s.io/v1/servicecidrs';

type ServiceCidr = {
  metadata: { name: string; resourceVersion: string };
  spec: { cidrs: string[] };
};

/** As much of an API as it takes: lists, all empty but one, and watches. */
class Api {
  readonly #server = createSecureServer(certificate());
  readonly #objects = new Map<string, ServiceCidr>();
  readonly #watches = new Set<ServerHttp2Stream>();
  readonly #history: { version: number; line: string }[] = [];
  #version = 1;

  async listen(): Promise<string> {
    this.#server.on('stream', (stream: ServerHttp2Stream, headers: IncomingHttpHeaders) =>
      this.#answer(stream, headers[':path'] ?? ''),
    );
    await new Promise<void>((resolve) => this.#server.listen(0, '127.0.0.1', resolve));
    return `https://127.0.0.1:${(this.#server.address() as AddressInfo).port}`;
  }

  put(name: string, cidrs: string[]): void {
    this.#version += 1;
    const known = this.#objects.has(name);
    const object = { metadata: { name, resourceVersion: `${this.#version}` }, spec: { cidrs } };
    this.#objects.set(name, object);
    this.#tell(known ? 'MODIFIED' : 'ADDED', object);
  }

  delete(name: string): void {
    this.#version += 1;
    const object = this.#objects.get(name)!;
    this.#objects.delete(name);
    this.#tell('DELETED', {
      ...object,
      metadata: { ...object.metadata, resourceVersion: `${this.#version}` },
    });
  }

  close(): void {
    for (const stream of this.#watches) stream.close();
    this.#server.close();
  }

  #tell(type: string, object: ServiceCidr): void {
    const line = `${JSON.stringify({ type, object })}\n`;
    this.#history.push({ version: this.#version, line });
    for (const stream of this.#watches) stream.write(line);
  }

  #answer(stream: ServerHttp2Stream, url: string): void {
    const [path, query = ''] = url.split('?');
    const mine = path === PATH;
    stream.on('error', () => undefined);
    stream.respond({ ':status': 200, 'content-type': 'application/json' });
    if (query.includes('watch=')) {
      if (!mine) return;
      this.#watches.add(stream);
      const since = Number(new URLSearchParams(query).get('resourceVersion'));
      for (const { version, line } of this.#history) if (version > since) stream.write(line);
      stream.on('close', () => this.#watches.delete(stream));
      return;
    }
    const items = mine ? [...this.#objects.values()] : [];
    stream.end(JSON.stringify({ metadata: { resourceVersion: `${this.#version}` }, items }));
  }
}

/** Of nobody in particular. */
function certificate(): { key: string; cert: string } {
  const words =
    'req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -subj /CN=api -keyout - -out -';
  const text = execFileSync('openssl', words.split(' '), { encoding: 'utf8', stdio: 'pipe' });
  const at = text.indexOf('-----BEGIN CERTIFICATE');
  return { key: text.slice(0, at), cert: text.slice(at) };
}

const api = new Api();
let client: HttpClient;
let proxy: Proxy;

before(async () => {
  ip('link set lo up');
  api.put('kubernetes', ['10.96.0.0/16', 'fd00:10:96::/112']);
  client = createHttpClient({ server: await api.listen(), insecure: true });
  proxy = await startProxy({
    client,
    nodeName: 'node-1',
    nodeIPs: [ADDRESSES.ipv4.node, ADDRESSES.ipv6.node],
    detectLocal: { mode: 'ClusterCIDR', cidrs: [] },
    log: { error: console.error, warn() {}, info() {}, debug() {} } as never,
  });
  await proxy.ready;
});
after(async () => {
  await proxy.stop();
  client.close();
  api.close();
});

/** The ranges that the kernel drops new connections to. */
function dropped(family: 'ip' | 'ip6'): string {
  const text = execFileSync('nft', ['-j', 'list', 'set', family, 'fairlead', 'ranges'], {
    encoding: 'utf8',
  });
  const { nftables } = JSON.parse(text) as { nftables: { set?: { elem?: unknown[] } }[] };
  const elements = nftables.flatMap(({ set }) => set?.elem ?? []);
  const addresses = elements.map((element) => {
    const { concat } = element as { concat: [unknown, { prefix: { addr: string; len: number } }] };
    const { addr, len } = concat[1].prefix;
    return `${addr}/${len}`;
  });
  return addresses.sort().join(' ');
}

async function eventually(read: () => string, want: string): Promise<number> {
  const start = performance.now();
  for (let found = read(); found !== want; found = read()) {
    assert(performance.now() - start < 10_000, `still ${found}, not ${want}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  return performance.now() - start;
}

test('[P92, X4] ServiceCIDR objects come, change and go: the rules follow at once', async () => {
  await eventually(() => dropped('ip'), '10.96.0.0/16');
  assert.equal(dropped('ip6'), 'fd00:10:96::/112');
  api.put('more', ['10.97.0.0/16', '10.098.0.0/016']);
  const waitedMs = await eventually(() => dropped('ip'), '10.96.0.0/16 10.97.0.0/16 10.98.0.0/16');
  assert(waitedMs < 5000, 'not with the next full sync, after an hour');
  assert.equal(dropped('ip6'), 'fd00:10:96::/112');
  api.put('more', ['10.97.0.0/24', 'fd00:10:97::/112']);
  await eventually(() => dropped('ip'), '10.96.0.0/16 10.97.0.0/24');
  assert.equal(dropped('ip6'), 'fd00:10:96::/112 fd00:10:97::/112');
  api.delete('kubernetes');
  await eventually(() => dropped('ip'), '10.97.0.0/24');
});
