/** /healthz and /livez over HTTP, with time that moves when told to. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { createServer, get } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, test } from 'node:test';
import type { Node } from '../../api/types.ts';
import type { Clock } from '../../lib/clock.ts';
import { healthPages } from './health-pages.ts';
import { ProxyHealth } from './proxy-health.ts';

const start = Date.parse('2026-01-01T00:00:00Z');
let seconds = 0;
const clock: Clock = {
  now: () => start + seconds * 1000,
  monotonicMs: () => seconds * 1000,
  after: () => () => undefined,
};

let health: ProxyHealth | undefined;
let node: Node | undefined;
const probes: string[] = [];
const server = createServer(
  healthPages({
    health: () => health,
    node: () => node,
    probed: (path, code) => probes.push(`${path} ${code}`),
    now: () => clock.now(),
  }),
);
await once(server.listen(0, '127.0.0.1'), 'listening');
const { port } = server.address() as AddressInfo;
after(() => server.close());

type Answer = { code: number; type: string; sniff: string; body: string };

function ask(path: string): Promise<Answer> {
  return new Promise((resolve, reject) => {
    get({ host: '127.0.0.1', port, path, agent: false }, (response) => {
      let body = '';
      response.on('data', (chunk: Buffer) => (body += chunk.toString()));
      const { 'content-type': type = '', 'x-content-type-options': sniff } = response.headers;
      response.on('end', () =>
        resolve({ code: response.statusCode!, type, sniff: String(sniff), body }),
      );
    }).on('error', reject);
  });
}

async function codes(): Promise<[number, number]> {
  return [(await ask('/healthz')).code, (await ask('/livez')).code];
}

const healthy: Node = { metadata: { name: 'node-1' }, spec: {} };
const doomed = { key: 'ToBeDeletedByClusterAutoscaler', effect: 'NoSchedule' as const };

function reset(): void {
  seconds = 0;
  health = new ProxyHealth(clock);
  node = healthy;
}

test('[P122] the page, field by field, as kube-proxy 1.35.4 prints it', async () => {
  reset();
  health?.updated('ipv4');
  health?.updated('ipv6');
  seconds = 100;
  const { code, type, sniff, body } = await ask('/healthz');
  assert.deepEqual([code, type, sniff], [200, 'application/json', 'nosniff']);
  const then = '2026-01-01T00:00:00.000Z';
  const now = '2026-01-01T00:01:40.000Z';
  const family = `{"lastUpdated":"${then}","healthy":true}`;
  assert.equal(
    body,
    `{"lastUpdated":"${now}","currentTime":"${now}","nodeEligible":true,"healthy":true,"status":{"IPv4":${family},"IPv6":${family}}}`,
  );
  const live = await ask('/livez');
  assert.equal(live.body, body.replace('"nodeEligible":true,', ''));
});

const nodes: { name: string; node: Node | undefined }[] = [
  { name: 'that is unknown', node: undefined },
  {
    name: 'that is being deleted',
    node: { metadata: { name: 'node-1', deletionTimestamp: '2026-01-01T00:00:00Z' } },
  },
  {
    name: 'that the autoscaler takes away',
    node: { metadata: { name: 'node-1' }, spec: { taints: [doomed] } },
  },
];

for (const one of nodes) {
  test(`[P122] [P123] a node ${one.name} is not eligible; /livez does not ask`, async () => {
    reset();
    health?.updated('ipv4');
    node = one.node;
    assert.deepEqual(await codes(), [503, 200]);
    const body = JSON.parse((await ask('/healthz')).body) as Record<string, unknown>;
    assert.deepEqual([body.nodeEligible, body.healthy], [false, true]);
    node = { ...healthy, spec: { taints: [{ key: 'other', effect: 'NoSchedule' }] } };
    assert.deepEqual(await codes(), [200, 200], 'another taint does not matter');
  });
}

test('[P123] nothing queued is healthy, however long ago the last sync was', async () => {
  reset();
  health?.updated('ipv4');
  seconds = 100_000;
  assert.deepEqual(await codes(), [200, 200]);
});

test('[P123] a change that waits for a minute is too old; a later one does not make it younger', async () => {
  reset();
  health?.updated('ipv4');
  health?.updated('ipv6');
  seconds = 10;
  health?.queued(['ipv4', 'ipv6']);
  health?.updated('ipv6');
  seconds = 60;
  health?.queued(['ipv4']);
  seconds = 69.9;
  assert.deepEqual(await codes(), [200, 200]);
  seconds = 70;
  assert.deepEqual(await codes(), [503, 503]);
  const body = JSON.parse((await ask('/livez')).body) as {
    lastUpdated: string;
    status: Record<string, { healthy: boolean }>;
  };
  assert.equal(body.status.IPv4?.healthy, false);
  assert.equal(body.status.IPv6?.healthy, true, '[P136] the other half is well');
  assert.equal(body.lastUpdated, '2026-01-01T00:00:10.000Z', 'the newest of both');
  health?.updated('ipv4');
  assert.deepEqual(await codes(), [200, 200]);
});

test('[P123] a first sync that never succeeds shows as well', async () => {
  reset();
  health?.queued(['ipv4']);
  seconds = 61;
  assert.deepEqual(await codes(), [503, 503]);
  const body = JSON.parse((await ask('/livez')).body) as { lastUpdated: string };
  assert.equal(body.lastUpdated, '0001-01-01T00:00:00Z');
});

test('[P139] answers are counted, other paths are 404', async () => {
  reset();
  probes.length = 0;
  node = undefined;
  await codes();
  assert.deepEqual(probes, ['healthz 503', 'livez 200']);
  const other = await ask('/');
  assert.deepEqual([other.code, other.body], [404, '404 page not found\n']);
});
