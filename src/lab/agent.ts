/** The process of a node: node agent and service proxy on one connection to the API. */
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { resources } from '../api/resources.ts';
import type { Service } from '../api/types.ts';
import { createHttpClient } from '../client/http-client.ts';
import { Informers } from '../client/informer.ts';
import { keepHeapSmall } from '../lib/heap.ts';
import { createLogger } from '../lib/log.ts';
import { formatHostPort } from '../lib/ip.ts';
import { startNodeAgent } from '../node/agent.ts';
import { createProcessRuntime } from '../node/process-runtime/runtime.ts';
import { startProxy } from '../proxy/service-proxy.ts';
import { watchOnNode } from './balancer.ts';
import { apiPortInLab, nodeGraceSeconds } from './config.ts';
import { keyFiles } from './keys.ts';
import { findNode } from './node.ts';
import { labRoots, nodeRuntimeDir, type LabPaths } from './paths.ts';
import { waitForPort } from './ports.ts';
import { selfCommand, selfPaths } from './processes.ts';
import { readLab } from './state.ts';

/** A server takes a third of a second to start. */
const serverPatienceMs = 1000;

/** Runs until a signal ends the process; pods and rules stay. */
export async function runAgent(paths: LabPaths, name: string, version: string): Promise<void> {
  keepHeapSmall();
  const lab = readLab(paths);
  const node = findNode(lab, name);
  const files = keyFiles(paths);
  const log = createLogger(name);
  const read = (file: string) => readFileSync(file, 'utf8');
  const tls = {
    ca: read(files.ca),
    cert: read(files.agent(name).cert),
    key: read(files.agent(name).key),
  };
  const client = createHttpClient({
    server: `https://${formatHostPort(lab.hostIPs[0]!, apiPortInLab)}`,
    ...tls,
    userAgent: `fairlead-agent/${version}`,
  });
  const runtimeDir = nodeRuntimeDir(paths, name);
  const stateDir = join(paths.state, 'nodes', name);
  const runtime = createProcessRuntime({
    runtimeDir,
    logsDir: join(stateDir, 'raw-logs'),
    nodeName: name,
    version,
    selfCommand: selfCommand(),
    selfPaths: selfPaths(),
    hidden: Object.values(labRoots()),
  });
  // The host's own resolver may be out of reach from here; the lab's relay is not.
  const resolvConfPath = join(runtimeDir, 'resolv.conf');
  mkdirSync(runtimeDir, { recursive: true });
  writeFileSync(resolvConfPath, lab.hostIPs.map((address) => `nameserver ${address}\n`).join(''));
  // In a new lab the server starts beside us; knocking with TLS takes CPU that it needs. An agent that
  // comes back while the server is away goes on without it.
  await waitForPort(lab.hostIPs[0]!, apiPortInLab, serverPatienceMs);
  // Proxy and agent follow the same Services.
  const informers = new Informers({ client, log });
  const proxy = await startProxy({
    client,
    informers,
    nodeName: name,
    nodeIPs: node.ips,
    detectLocal: { mode: 'ClusterCIDR', cidrs: lab.podCidrs },
    serviceCidrs: lab.serviceCidrs,
    log,
  });
  const agent = await startNodeAgent({
    client,
    nodeName: name,
    nodeIPs: node.ips,
    runtime,
    dir: runtimeDir,
    stateDir,
    clusterDomain: lab.clusterDomain,
    clusterDns: lab.clusterDns,
    log,
    tls,
    podCidrs: node.podCidrs,
    resolvConfPath,
    leaseSeconds: nodeGraceSeconds,
    services: informers.of<Service>(resources.services),
    ...(name === lab.nodes[0]?.name
      ? { labels: { 'node-role.kubernetes.io/control-plane': '' } }
      : {}),
  });
  const stopBalancer = watchOnNode({ lab, nodeName: name, client, informers, log });
  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      informers.stop();
      void Promise.all([stopBalancer(), agent.stop(), proxy.stop()]).finally(() => process.exit(0));
    });
  }
}
