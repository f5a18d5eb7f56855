/** A lab on a machine whose firewall drops what it forwards, as Docker sets it up. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import { after, test } from 'node:test';
import { Cluster, eventually, fairlead, must, removeHome, run } from './harness.ts';

after(async () => {
  await fairlead('down', '--all');
  removeHome();
});

test('a firewall that drops forwarded packets and sees bridged ones is not in the way', async () => {
  for (const family of ['ip', 'ip6']) {
    must(await run('nft', ['add', 'table', family, 'firewall']), 'nft');
    const hook = '{ type filter hook forward priority 0; policy drop; }';
    must(await run('nft', ['add', 'chain', family, 'firewall', 'forward', hook]), 'nft');
  }
  // br_netfilter: the host's firewall sees the frames of the host's bridges.
  assert.equal(readFileSync('/proc/sys/net/bridge/bridge-nf-call-iptables', 'utf8').trim(), '1');
  const cluster = await Cluster.up('lab', '--nodes', '2', '--ip-family', 'dual');
  await cluster.kubectlOk('create', 'deployment', 'web', '--image=fairlead/echo', '--replicas=2');
  await cluster.kubectlOk('expose', 'deployment', 'web', '--port=80', '--target-port=8080');
  await cluster.kubectlOk('rollout', 'status', 'deployment/web', '--timeout=30s');
  const address = await cluster.kubectlOk(
    'get',
    'service',
    'web',
    '-o',
    'jsonpath={.spec.clusterIP}',
  );
  const seen = new Set<string>();
  await eventually('both pods, one per node, answer from the host', async () => {
    const { stdout } = await run('curl', ['-sS', '-m', '2', `http://${address}/hostname`]);
    seen.add(stdout);
    return seen.size === 2;
  });
  await cluster.down();
});
