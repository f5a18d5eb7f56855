/**
 * `fairlead proxy` as a kube-proxy replacement: a process on a node, an API server, objects that
 * kubectl writes, pods made by hand, and packets.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, globSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:http';
import { connect } from 'node:net';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';

import { NftConnection } from '../../src/kernel/nftables/index.ts';
import {
  ADDRESSES,
  buildTopology,
  ip,
  TARGET_PORT,
  type Topology,
} from '../kernel/proxy-topology.ts';
import { eventually } from './harness.ts';
import { page, ProxyProcess, startWorld, type World } from './proxy-world.ts';

const { node, local, remote } = ADDRESSES.ipv4;
const v6 = ADDRESSES.ipv6;
const VIP = '10.96.0.20';
const VIP6 = 'fd00:10:96::20';
const NODE_PORT = 30_080;
const CHAT_VIP = '10.96.0.30';
const CHAT_PORT = 9000;
const HEALTH_NODE_PORT = 30_500;
const OTHER_NODE_IP = '172.29.0.77';

let topology: Topology;
let world: World;
let proxy: ProxyProcess;
let configFile: string;

before(async () => {
  topology = await buildTopology();
  world = await startWorld();
  configFile = join(world.dir, 'config.yaml');
  writeConfig();
});
after(async () => {
  await proxy?.end();
  await world.stop();
  topology[Symbol.dispose]();
});

/** In kube-proxy's format; `more` are lines of it. */
function writeConfig(more = ''): void {
  writeFileSync(
    configFile,
    `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: node-1
clientConnection: {kubeconfig: ${world.kubeconfig}}
clusterCIDR: 10.244.0.0/16,fd00:10:244::/56
oomScoreAdj: 500
enableProfiling: true
nftables: {minSyncPeriod: 100ms}
${more}`,
  );
}

function startProxy(...more: string[]): ProxyProcess {
  return new ProxyProcess(['--config', configFile, ...more]);
}

function nft(...args: string[]): string {
  return execFileSync('nft', args, { encoding: 'utf8', stdio: ['ignore', 'pipe', 'ignore'] });
}

/** Raised by every transaction of anybody in this network. */
function generation(): number {
  using connection = new NftConnection();
  return connection.generation().id;
}

/** Without what the kernel counts. */
function ruleset(): string {
  return nft('-j', '-s', 'list', 'ruleset');
}

const nodeYaml = (addresses: readonly string[]) =>
  JSON.stringify({
    status: {
      addresses: addresses.map((address) => ({ type: 'InternalIP', address })),
      conditions: [{ type: 'Ready', status: 'True' }],
    },
  });

const slice = (
  family: 'IPv4' | 'IPv6',
  service: string,
  endpoints: [string, string][],
  port = TARGET_PORT,
) => `
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata:
  name: ${service}-${family.toLowerCase()}
  labels: {kubernetes.io/service-name: ${service}}
addressType: ${family}
ports: [{name: "", protocol: TCP, port: ${port}}]
endpoints:
${endpoints.map(([address, nodeName]) => `- {addresses: ["${address}"], nodeName: ${nodeName}, conditions: {ready: true}}`).join('\n')}
`;

const OBJECTS = `
apiVersion: v1
kind: Service
metadata: {name: web}
spec:
  type: LoadBalancer
  externalTrafficPolicy: Local
  healthCheckNodePort: ${HEALTH_NODE_PORT}
  ipFamilyPolicy: RequireDualStack
  clusterIP: ${VIP}
  clusterIPs: ["${VIP}", "${VIP6}"]
  ports: [{port: 80, targetPort: ${TARGET_PORT}, nodePort: ${NODE_PORT}}]
---
apiVersion: v1
kind: Service
metadata: {name: chat}
spec:
  clusterIP: ${CHAT_VIP}
  ports: [{port: ${CHAT_PORT}}]
${slice('IPv4', 'web', [
  [local, 'node-1'],
  [remote, 'node-2'],
])}
${slice('IPv6', 'web', [
  [v6.local, 'node-1'],
  [v6.remote, 'node-2'],
])}
${slice('IPv4', 'chat', [[local, 'node-1']], CHAT_PORT)}
`;

async function serverOf(
  from: 'outside' | 'local2',
  address: string,
  port: number,
): Promise<string> {
  const [reply] = await topology[from].ask({ protocol: 'TCP', address, port });
  return 'server' in reply! ? reply.server : reply!.error;
}

async function metric(name: string): Promise<number | undefined> {
  const { text } = await page(10_249, '/metrics');
  const found = new RegExp(`^${name.replaceAll(/[{}"]/g, '\\$&')} (\\S+)$`, 'm').exec(text)?.[1];
  return found === undefined ? undefined : Number(found);
}

type Event = { type: string; reason: string; involvedObject: { kind: string; name: string } };

async function events(): Promise<Event[]> {
  const text = await world.kubectl('', 'get', 'events', '-A', '-o', 'json');
  return (JSON.parse(text) as { items: Event[] }).items;
}

// ---- mistakes, before anything runs

const mistakes: { name: string; args: () => string[]; code: number; says: RegExp }[] = [
  {
    name: '[P141] a mode that there is not ends the start',
    args: () => ['--kubeconfig', world.kubeconfig, '--proxy-mode', 'iptables'],
    code: 2,
    says: /--proxy-mode is "iptables", it must be nftables.*\[BAD_FLAG\]/s,
  },
  {
    name: 'a kubeconfig that is not there',
    args: () => ['--kubeconfig', '/nonexistent'],
    code: 2,
    says: /Cannot use kubeconfig "\/nonexistent": ENOENT.*\[BAD_KUBECONFIG\]/s,
  },
  {
    name: 'no kubeconfig outside of a pod',
    args: () => [],
    code: 2,
    says: /KUBERNETES_SERVICE_HOST is not set.*\[NOT_IN_CLUSTER\]/s,
  },
  {
    name: 'a configuration file that is wrong',
    args: () => {
      const file = join(world.dir, 'wrong.yaml');
      writeFileSync(file, readFileSync(configFile, 'utf8').replace('oomScoreAdj', 'oomScore'));
      return ['--config', file];
    },
    code: 2,
    says: /wrong\.yaml": oomScore is no field.*\[BAD_CONFIG\]/s,
  },
];

for (const { name, args, code, says } of mistakes) {
  test(name, async () => {
    const failed = new ProxyProcess(args());
    assert.equal(await failed.exited, code, failed.log);
    assert.match(failed.log, says);
  });
}

test('[P141] without the right to change rules the start ends, and says so', async () => {
  const weak = new ProxyProcess(['--config', configFile], {
    through: ['setpriv', '--bounding-set=-net_admin', '--inh-caps=-net_admin', '--'],
  });
  assert.equal(await weak.exited, 1, weak.log);
  assert.match(weak.log, /may not change nftables rules.*CAP_NET_ADMIN {2}\[PROXY_RIGHTS\]/);
  assert.doesNotMatch(weak.log, /kernel setting/, 'nothing was touched');
});

test('[P133] --cleanup has nothing to remove, and says nothing; --init-only sets up and ends', async () => {
  const cleanup = new ProxyProcess(['--cleanup']);
  assert.equal(await cleanup.exited, 0);
  assert.equal(cleanup.log, '');
  const init = startProxy('--init-only');
  assert.equal(await init.exited, 0);
  assert.equal(nft('list', 'tables'), '');
});

test('[P113] the timeouts of TCP are set, on the real kernel', () => {
  const read = (name: string) =>
    readFileSync(`/proc/sys/net/netfilter/nf_conntrack_${name}`, 'utf8').trim();
  assert.equal(read('tcp_timeout_established'), '86400');
  assert.equal(read('tcp_timeout_close_wait'), '3600');
});

// ---- the API server is away, the node is not known

test('[P130] [P131] without an API server it waits, alive and not eligible, and writes nothing', async () => {
  world.relay.cut();
  nft('add', 'table', 'ip', 'fairlead');
  const before = ruleset();
  proxy = startProxy();
  await eventually('livez', async () => (await page(10_256, '/livez')).code === 200);
  assert.equal((await page(10_256, '/healthz')).code, 503);
  await eventually('a word about it', () => proxy.log.includes('the API server does not answer'));
  assert.equal(ruleset(), before, 'what an earlier run left stays');
  // A new configuration may be what it waits for (P142).
  writeConfig('configSyncPeriod: 5m\n');
  await eventually('the new one', () => proxy.log.includes('the configuration changed'));
  await eventually('its value', async () =>
    (await page(10_249, '/configz')).text.includes('"ConfigSyncPeriod":"5m0s"'),
  );
  assert.equal((await page(10_256, '/livez')).code, 200);
  nft('delete', 'table', 'ip', 'fairlead');
});

test('[P143] the OOM score is what the configuration says', () => {
  assert.equal(readFileSync(`/proc/${proxy.pid}/oom_score_adj`, 'utf8').trim(), '500');
});

test('[P131] it waits for the addresses of its node', async () => {
  await world.relay.open();
  await world.kubectl('apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n', 'apply', '-f', '-');
  await world.kubectl(OBJECTS, 'apply', '-f', '-');
  await eventually('the API server', () => proxy.log.includes('the API server answers again'));
  assert.equal(nft('list', 'tables'), '');
  await patchNode([node, v6.node]);
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
});

async function patchNode(addresses: readonly string[]): Promise<void> {
  const body = nodeYaml(addresses);
  const type = 'application/merge-patch+json';
  const { code, text } = await world.api.ask('PATCH /api/v1/nodes/node-1/status', { body, type });
  assert.equal(code, 200, text);
}

// ---- at work

test('[P137] packets reach the pods by every address of the Service, in both families', async () => {
  assert([local, remote].includes((await serverOf('local2', VIP, 80)) as never));
  assert([v6.local, v6.remote].includes((await serverOf('local2', VIP6, 80)) as never));
  assert.equal(await serverOf('outside', node, NODE_PORT), local, 'policy Local');
  assert.equal(await serverOf('outside', v6.node, NODE_PORT), v6.local);
});

test('[P118] [P119] [P121] the health check port answers on the node addresses', async () => {
  const found = await page(HEALTH_NODE_PORT, '/healthz', node);
  assert.equal(found.code, 200);
  const { localEndpoints } = JSON.parse(found.text) as { localEndpoints: number };
  assert(localEndpoints > 0);
  assert.equal((await page(HEALTH_NODE_PORT, '/', v6.node)).code, 200);
  assert.equal((await page(HEALTH_NODE_PORT, '/', '127.0.0.1')).code, 0);
});

test('[P122] [P123] [P124] the pages of kube-proxy', async () => {
  assert.equal((await page(10_256, '/healthz')).code, 200);
  assert.equal((await page(10_256, '/healthz', '::1')).code, 200, '0.0.0.0 is every address');
  const { status } = JSON.parse((await page(10_256, '/livez')).text) as { status: object };
  assert.deepEqual(Object.keys(status).sort(), ['IPv4', 'IPv6']);
  assert.deepEqual(await page(10_249, '/proxyMode'), { code: 200, text: 'nftables' });
  assert.deepEqual(await page(10_249, '/healthz'), { code: 200, text: 'ok' });
  const configz = JSON.parse((await page(10_249, '/configz')).text) as Record<
    string,
    Record<string, unknown>
  >;
  const config = configz['kubeproxy.config.k8s.io']!;
  assert.deepEqual(config.NodePortAddresses, [`${node}/32`, `${v6.node}/128`]);
  assert.equal(config.MinSyncPeriod, '100ms');
  assert.match((await page(10_249, '/metrics/slis')).text, /name="ping",type="healthz"\} 1/);
  assert.equal((await page(10_249, '/nothing')).code, 404);
});

test('[P124] profiles and the log level, since the configuration allows them', async () => {
  const profile = await page(10_249, '/debug/pprof/profile?seconds=0.2');
  assert('nodes' in (JSON.parse(profile.text) as object));
  const put = await fetch('http://127.0.0.1:10249/debug/flags/v', { method: 'PUT', body: '4' });
  assert.equal(await put.text(), 'successfully set klog.logging.verbosity to 4');
  const bad = await fetch('http://127.0.0.1:10249/debug/flags/v', { method: 'PUT', body: 'x' });
  assert.equal(bad.status, 400);
});

test('[P139] [P140] metrics of what has happened', async () => {
  for (const family of ['IPv4', 'IPv6']) {
    const count = `kubeproxy_sync_full_proxy_rules_duration_seconds_count{ip_family="${family}"}`;
    assert.equal(await metric(count), 1, family);
  }
  const stamp = new Date().toISOString();
  await world.kubectl(
    '',
    'annotate',
    'endpointslice',
    'web-ipv4',
    `endpoints.kubernetes.io/last-change-trigger-time=${stamp}`,
  );
  const programming = 'kubeproxy_network_programming_duration_seconds';
  await eventually(
    'one slice counted',
    async () => (await metric(`${programming}_count{ip_family="IPv4"}`)) === 1,
  );
  const seconds = await metric(`${programming}_sum{ip_family="IPv4"}`);
  assert(seconds! > 0 && seconds! < 5, `${seconds} s`);
  assert.equal(await metric('kubeproxy_sync_proxy_rules_service_changes_pending'), 0);
  assert((await metric('kubeproxy_sync_proxy_rules_service_changes_total'))! >= 2);
  assert((await metric('kubeproxy_proxy_healthz_total{code="200"}'))! >= 2);
  assert.equal(await metric('fairlead_proxy_address_clashes'), 0);
  assert.equal(await metric('fairlead_proxy_localhost_node_ports_rejected_total'), 0);
  const { text } = await page(10_249, '/metrics');
  assert.match(
    text,
    /^rest_client_requests_total\{code="200",method="GET",host="127\.0\.0\.1:\d+"\}/m,
  );
});

test('[P143] a Normal event Starting is on the node', async () => {
  const starting = (await events()).find(({ reason }) => reason === 'Starting');
  assert.equal(starting?.type, 'Normal');
  assert.deepEqual(
    [starting?.involvedObject.kind, starting?.involvedObject.name],
    ['Node', 'node-1'],
  );
});

test('[P115] route_localnet is left as it is', () => {
  for (const file of globSync('/proc/sys/net/ipv4/conf/*/route_localnet')) {
    assert.equal(readFileSync(file, 'utf8').trim(), '0', file);
  }
});

// ---- connections and rules outlive the process

/** A server in the local pod that says everything back, and a connection to it by the virtual IP. */
async function openChat() {
  const code = `require('node:net').createServer((s) => s.pipe(s)).listen(${CHAT_PORT}, '${local}', () => console.log('up'))`;
  const args = [`--net=/proc/${topology.local.pid}/ns/net`, process.execPath, '-e', code];
  const server = spawn('nsenter', args, { stdio: ['ignore', 'pipe', 'inherit'] });
  await once(server.stdout, 'data');
  const socket = connect(CHAT_PORT, CHAT_VIP);
  await once(socket, 'connect');
  return {
    async say(text: string): Promise<string> {
      socket.write(text);
      const [answer] = (await once(socket, 'data')) as [Buffer];
      return answer.toString();
    },
    close() {
      socket.destroy();
      server.kill();
    },
  };
}

test('[P132] kill -9 leaves rules and connections; a start takes them over and writes nothing', async () => {
  const chat = await openChat();
  assert.equal(await chat.say('one'), 'one');
  const rules = ruleset();
  proxy.kill('SIGKILL');
  await proxy.exited;
  assert.equal(await chat.say('two'), 'two');
  assert([local, remote].includes((await serverOf('local2', VIP, 80)) as never));
  const before = generation();
  proxy = startProxy();
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
  assert.equal(generation(), before, 'not one transaction');
  assert.equal(ruleset(), rules);
  assert.equal(await chat.say('three'), 'three');
  chat.close();
});

test('[P132] SIGTERM ends it with code 0, and everything stays', async () => {
  const rules = ruleset();
  assert.equal(await proxy.end(), 0);
  assert.equal(ruleset(), rules);
  assert.equal(await serverOf('outside', node, NODE_PORT), local);
  assert.equal((await page(HEALTH_NODE_PORT, '/', node)).code, 0, 'balancers look elsewhere');
  proxy = startProxy();
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
});

test('[P130] [P143] the API server goes and comes back: rules stay, health is green, news arrive', async () => {
  const rules = ruleset();
  world.relay.cut();
  await eventually('a word about it', () => proxy.log.includes('the API server does not answer'));
  assert.equal(ruleset(), rules);
  assert.equal((await page(10_256, '/healthz')).code, 200);
  await world.kubectl(slice('IPv4', 'web', [[remote, 'node-2']]), 'apply', '-f', '-');
  await sleep(300);
  assert.equal(ruleset(), rules);
  await world.relay.open();
  await eventually('the news', async () => (await serverOf('local2', VIP, 80)) === remote);
  const both: [string, string][] = [
    [local, 'node-1'],
    [remote, 'node-2'],
  ];
  await world.kubectl(slice('IPv4', 'web', both), 'apply', '-f', '-');
  await eventually('both again', async () => (await serverOf('local2', VIP, 80)) === local);
});

test('[P131] new addresses of the node are taken up without an end of the process', async () => {
  ip(`addr add ${OTHER_NODE_IP}/32 dev outside`);
  assert.notEqual(await serverOf('outside', OTHER_NODE_IP, NODE_PORT), local);
  await patchNode([OTHER_NODE_IP, v6.node]);
  await eventually(
    'the new address',
    async () => (await serverOf('outside', OTHER_NODE_IP, NODE_PORT)) === local,
  );
  assert.notEqual(
    await serverOf('outside', node, NODE_PORT),
    local,
    'the old one is none any more',
  );
  await patchNode([node, v6.node]);
  await eventually(
    'the old address',
    async () => (await serverOf('outside', node, NODE_PORT)) === local,
  );
});

test('[P122] [P131] a node that is taken away is not eligible, and its rules stay', async () => {
  await world.kubectl('', 'delete', 'node', 'node-1');
  await eventually('healthz', async () => (await page(10_256, '/healthz')).code === 503);
  assert.equal((await page(10_256, '/livez')).code, 200);
  assert.equal(await serverOf('outside', node, NODE_PORT), local);
  await world.kubectl('apiVersion: v1\nkind: Node\nmetadata: {name: node-1}\n', 'apply', '-f', '-');
  await patchNode([node, v6.node]);
  await eventually('healthz', async () => (await page(10_256, '/healthz')).code === 200);
});

// ---- the configuration changes

test('[P142] a bad configuration is told, and the old one stays', async () => {
  const { pid } = proxy;
  writeConfig('mode: ipvs\n');
  await eventually('a word about it', () => proxy.log.includes('the old one stays'));
  assert.match(proxy.log, /Map keys must be unique|mode is/);
  assert.equal((await page(10_249, '/proxyMode')).text, 'nftables');
  assert.equal(proxy.pid, pid);
});

test('[P142] a good one is taken over by the same process, and connections stay', async () => {
  const chat = await openChat();
  assert.equal(await chat.say('one'), 'one');
  const rules = ruleset();
  writeConfig('configSyncPeriod: 7m\n');
  const period = async () => {
    const { text } = await page(10_249, '/configz');
    return /"ConfigSyncPeriod":"([^"]+)"/.exec(text)?.[1] === '7m0s';
  };
  await eventually('the new value', period);
  assert(existsSync(`/proc/${proxy.pid}`), 'the same process');
  await eventually('rules', () => proxy.log.split('the rules of all Services').length >= 3);
  assert.equal(ruleset(), rules);
  assert.equal(await chat.say('two'), 'two');
  chat.close();
});

// ---- ports that are taken

test('[P124] a taken port is tried again; bindAddressHardFail ends the start and tells the node', async () => {
  await proxy.end();
  const squatters = [createServer(), createServer()] as const;
  await once(squatters[0].listen(10_256, '127.0.0.1'), 'listening');
  await once(squatters[1].listen(10_300, '127.0.0.1'), 'listening');
  const hard = startProxy('--bind-address-hard-fail');
  assert.equal(await hard.exited, 1, hard.log);
  assert.match(
    hard.log,
    /Cannot serve healthz on "0\.0\.0\.0:10256".*EADDRINUSE.*\[PROXY_LISTEN\]/s,
  );
  await eventually('an event', async () =>
    (await events()).some(({ reason }) => reason === 'FailedToStartProxierHealthcheck'),
  );
  squatters[0].close();
  proxy = startProxy('--metrics-bind-address', '127.0.0.1:10300');
  await eventually('a word about it', () => proxy.log.includes('no metrics'));
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
  squatters[1].close();
  await eventually('the page', async () => (await page(10_300, '/healthz')).code === 200);
});

test('a second proxy waits for the end of the first one, and takes over as it is', async () => {
  const second = startProxy();
  await eventually('a word about it', () => second.log.includes('another proxy keeps the rules'));
  await sleep(700);
  assert.doesNotMatch(second.log, /keeping the rules/);
  const before = generation();
  proxy.kill('SIGKILL');
  await proxy.exited;
  proxy = second;
  await eventually('rules', () =>
    proxy.log.includes('the rules of all Services are in the kernel'),
  );
  assert.equal(generation(), before);
});

// ---- and away again

test('[P133] kube-proxy is cleared away at the start, --cleanup clears away all of it', async () => {
  for (const family of ['ip', 'ip6']) {
    nft('add', 'table', family, 'kube-proxy');
    nft('add', 'table', family, 'other');
  }
  await proxy.end();
  proxy = startProxy();
  await eventually('rules', () => proxy.log.includes('removed what kube-proxy left'));
  assert.doesNotMatch(nft('list', 'tables'), /kube-proxy/);
  await proxy.end();
  const cleanup = new ProxyProcess(['--cleanup']);
  assert.equal(await cleanup.exited, 0);
  assert.equal(cleanup.log, 'removed table ip fairlead\nremoved table ip6 fairlead\n');
  assert.equal(nft('list', 'tables'), 'table ip other\ntable ip6 other\n');
  assert.equal(await serverOf('outside', node, NODE_PORT), 'ECONNREFUSED');
});
