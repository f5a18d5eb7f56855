/** The server process of a lab: API, store, controllers and scheduler. */
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { startApiServer } from '../apiserver/server.ts';
import { startControllers } from '../controllers/start.ts';
import { dnsManifests } from '../dns/manifests.ts';
import { createLogger } from '../lib/log.ts';
import { parseCidr } from '../lib/ip.ts';
import { openSqliteStore } from '../store/sqlite.ts';
import { watchForBalancer } from './balancer.ts';
import { apiPortInLab, fakeGraceSeconds, nodeGraceSeconds, type LabConfig } from './config.ts';
import { keyFiles } from './keys.ts';
import { ensureObject } from './manifests.ts';
import { hostNameServers, startNameRelay } from './name-relay.ts';
import { podPrefixLength } from './ranges.ts';
import type { LabPaths } from './paths.ts';
import { apiListenerFd, handedApiPort } from './rights.ts';
import { readLab } from './state.ts';

/** How long pods stay on a lost node unless they say otherwise themselves. */
const defaultTolerationSeconds = 10;

/** Runs until a signal ends the process. */
export async function runServer(paths: LabPaths): Promise<void> {
  const lab = readLab(paths);
  const files = keyFiles(paths);
  const log = createLogger('server');
  const read = (file: string) => readFileSync(file, 'utf8');
  const pair = (pairFiles: { cert: string; key: string }) => ({
    cert: read(pairFiles.cert),
    key: read(pairFiles.key),
    ca: read(files.ca),
  });
  const store = openSqliteStore({ path: join(paths.state, 'fairlead.db') });
  const server = await startApiServer({
    store,
    listeners: [
      ...lab.hostIPs.map((host) => ({ host, port: apiPortInLab })),
      ...loopbackListeners(lab),
    ],
    tls: pair(files.server),
    kubeletClientTls: pair(files.kubeletClient),
    serviceAccountKey: read(files.serviceAccountKey),
    serviceCidrs: lab.serviceCidrs,
    defaultTolerationSeconds,
    advertise: { addresses: lab.hostIPs, port: apiPortInLab },
    log,
  });
  const controllers = startControllers({
    client: server.client,
    log,
    options: {
      caPem: read(files.ca),
      podCidrs: lab.podCidrs.map((cidr) => ({
        cidr,
        nodePrefixLength: podPrefixLength[parseCidr(cidr)!.family],
      })),
      nodeGraceMs:
        1000 * (lab.fakes === undefined ? nodeGraceSeconds : fakeGraceSeconds(lab.fakes)),
      defaultTolerationSeconds,
    },
  });
  const stopBalancer = watchForBalancer({ lab, paths, client: server.client, log });
  await startNameRelay(lab.hostIPs, log);
  const manifests = dnsManifests({
    domain: lab.clusterDomain,
    clusterIPs: lab.clusterDns,
    replicas: Math.min(2, lab.nodes.length),
    spread: 'required',
    upstreams: hostNameServers().length === 0 ? [] : lab.hostIPs.slice(0, 1),
  });
  for (const object of manifests) await ensureObject(server.client, object);

  for (const signal of ['SIGTERM', 'SIGINT'] as const) {
    process.once(signal, () => {
      controllers.stop();
      stopBalancer();
      void server.close().finally(() => process.exit(0));
    });
  }
}

/** Without root the host's loopback is out of reach from in here; its listener was handed to us. */
function loopbackListeners(lab: LabConfig): ({ fd: number } | { host: string; port: number })[] {
  const own = { host: '127.0.0.1', port: lab.apiPort };
  return handedApiPort() === undefined ? [own] : [own, { fd: apiListenerFd }];
}
