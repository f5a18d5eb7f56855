import assert from 'node:assert/strict';
import { test } from 'node:test';

import { parseCorefile } from './config/corefile.ts';
import { parseFlags } from './flags.ts';
import { nodeLocalAddress, nodeLocalCorefile } from './node-local.ts';
import { formatName } from './wire/name.ts';

const options = {
  domain: 'cluster.local',
  host: nodeLocalAddress,
  port: 53,
  clusterDns: ['10.96.0.10'],
  upstreams: ['192.0.2.1', '192.0.2.2'],
  lameDuckSeconds: 5,
  healthPort: 8080,
  metricsPort: 9253,
};

const warn = (text: string) => assert.fail(text);

function blocksOf(more: Partial<typeof options> = {}) {
  const text = nodeLocalCorefile({ ...options, ...more });
  return parseCorefile(text, 'test', { env: {}, warn }).blocks;
}

test('the cluster is asked over TCP, all else as the node asks it', () => {
  const [cluster, others] = blocksOf();
  const zones = cluster!.sites.map(({ zone, host, port }) => `${formatName(zone)} ${host}:${port}`);
  assert.deepEqual(zones, [
    'cluster.local. 169.254.20.10:53',
    'in-addr.arpa. 169.254.20.10:53',
    'ip6.arpa. 169.254.20.10:53',
  ]);
  const [forward] = cluster!.plugins.forward!;
  assert.deepEqual(
    [forward!.forceTcp, forward!.servers.map(({ host }) => host)],
    [true, ['10.96.0.10']],
  );
  const [outside] = others!.plugins.forward!;
  assert.deepEqual(
    [outside!.forceTcp, outside!.servers.map(({ host }) => host)],
    [false, ['192.0.2.1', '192.0.2.2']],
  );
  assert.ok(cluster!.plugins.loop !== undefined && others!.plugins.loop !== undefined);
});

test('both keep what they know for when nobody answers, and fetch what is asked often', () => {
  for (const { plugins } of blocksOf()) {
    const { serveStale, prefetch } = plugins.cache!;
    assert.deepEqual([serveStale!.forMs, serveStale!.verifyTimeoutMs], [3_600_000, 1000]);
    assert.equal(prefetch!.hitsMin, 5);
  }
});

test('pages and upstreams that are not wanted are not there', () => {
  const [cluster, others] = blocksOf({ healthPort: 0, metricsPort: 0, upstreams: [] });
  const { health, prometheus } = cluster!.plugins;
  assert.deepEqual(
    [health, prometheus, others!.plugins.forward],
    [undefined, undefined, undefined],
  );
});

const refused: [args: string[], message: RegExp][] = [
  [['--node-local', '--ttl', '5'], /--ttl and --node-local exclude each other/],
  [['--node-local', '--config', 'F'], /--config and --node-local exclude each other/],
  [['--node-local', '--workers', '2'], /--workers and --node-local exclude each other/],
  [['--node-local', '--port', 'x'], /--port is "x"/],
];

for (const [args, message] of refused) {
  test(`fairlead dns ${args.join(' ')} is refused`, () => {
    assert.throws(() => parseFlags(args), message);
  });
}
