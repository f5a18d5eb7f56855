/** Everything that runs in a standalone proxy, from the connection to the API server on. */
import { hostname } from 'node:os';
import { resources } from '../../api/resources.ts';
import type { Node } from '../../api/types.ts';
import { createEventRecorder, type EventRecorder } from '../../client/events.ts';
import {
  createHttpClient,
  type HttpClient,
  type HttpClientOptions,
  type RequestFacts,
} from '../../client/http-client.ts';
import { Informer } from '../../client/informer.ts';
import { loadInCluster, loadKubeconfig } from '../../client/kubeconfig.ts';
import { systemClock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { healthPages } from '../health/health-pages.ts';
import type { HttpPort } from '../health/http-port.ts';
import { keepHttpPort } from '../health/kept-port.ts';
import type { ProxyMetrics } from '../metrics/proxy-metrics.ts';
import { tellApiTrouble } from './api-watch.ts';
import { familiesOfKernel } from './check-mode.ts';
import { bindAddresses, configz } from './configz.ts';
import type { ProxyConfig } from './fields.ts';
import { LOOPBACK, nodeAddresses, usableFamilies, waitForNode } from './node-facts.ts';
import { serve, type Serving } from './serve.ts';
import { statusPages } from './status-pages.ts';

export type ProcessOptions = {
  readonly config: ProxyConfig;
  /** Where the API server is and who we are. */
  readonly credentials: HttpClientOptions;
  readonly version: string;
  readonly log: Logger;
  /** Called once all rules are in the kernel. */
  readonly onReady: () => void;
};

export type RunningProcess = {
  /** Ends all of it; rules and connections stay (P132). */
  readonly stop: () => Promise<void>;
  /** Settles once rules are kept; rejects with what keeps them from it. */
  readonly started: Promise<void>;
};

/** How long an event about a failed start may take to be written. */
const LAST_WORDS_MS = 3000;

/** Begins at once; `started` tells how it went. */
export async function startProcess(options: ProcessOptions): Promise<RunningProcess> {
  const { config, version, log } = options;
  const nodeName = nodeNameOf(config);
  const metrics = await loadMetrics(config, version);
  const client = connect(options, metrics);
  const nodes = new Informer<Node>({
    client,
    resource: resources.nodes,
    fieldSelector: `metadata.name=${nodeName}`,
    log,
  });
  const events = createEventRecorder({ client, component: 'kube-proxy', host: nodeName, log });
  const parts: Parts = { ...options, nodeName, metrics, client, nodes, events, ports: [] };
  nodes.start();
  return {
    started: begin(parts),
    async stop() {
      await parts.serving?.stop();
      for (const port of parts.ports) port.close();
      nodes.stop();
      events.stop();
      client.close();
    },
  };
}

type Parts = ProcessOptions & {
  readonly nodeName: string;
  readonly metrics: ProxyMetrics | undefined;
  readonly client: HttpClient;
  readonly nodes: Informer<Node>;
  readonly events: EventRecorder;
  readonly ports: HttpPort[];
  serving?: Serving;
};

async function begin(parts: Parts): Promise<void> {
  const { config, nodeName, nodes, client, log, metrics } = parts;
  await listen(parts);
  const clock = systemClock;
  const node = await waitForNode({ nodes, nodeName, config, clock, log });
  const { primary, addresses } = nodeAddresses(node, config.bindAddress);
  const families = familiesOfKernel(usableFamilies(primary), log);
  log.info({ node: nodeName, addresses, families }, 'keeping the rules of this node');
  const observer = metrics?.observer;
  metrics?.follow(() => parts.serving?.proxy());
  parts.serving = await serve({ client, config, nodeName, nodes, families, observer, clock, log });
  tell(parts, { type: 'Normal', reason: 'Starting', message: '' });
  void parts.serving.ready.then(parts.onReady);
}

/** kubelet and kube-proxy do the same, so that all mean the same Node. */
export function nodeNameOf(config: ProxyConfig): string {
  return (config.hostnameOverride || hostname()).trim().toLowerCase();
}

/** The library is loaded where somebody may scrape. */
async function loadMetrics(
  config: ProxyConfig,
  version: string,
): Promise<ProxyMetrics | undefined> {
  if (bindAddresses(config).metrics === undefined) return undefined;
  const { createProxyMetrics } = await import('../metrics/proxy-metrics.ts');
  return createProxyMetrics({ version, families: usableFamilies('ipv4') });
}

/** From the kubeconfig, or from the pod that this runs in. */
export async function loadCredentials(config: ProxyConfig): Promise<HttpClientOptions> {
  const file = config['clientConnection.kubeconfig'];
  return file === '' ? loadInCluster() : await loadKubeconfig(file);
}

function connect(
  { credentials, version, log }: ProcessOptions,
  metrics: ProxyMetrics | undefined,
): HttpClient {
  const tellTrouble = tellApiTrouble(log);
  return createHttpClient({
    ...credentials,
    userAgent: `fairlead-proxy/${version}`,
    onRequest(facts: RequestFacts) {
      metrics?.requested(facts);
      tellTrouble(facts);
    },
  });
}

/** Opens the two ports; with bindAddressHardFail one that is taken ends the start. */
async function listen(parts: Parts): Promise<void> {
  const { config, nodes, nodeName, log, metrics, ports } = parts;
  const { healthz, metrics: status } = bindAddresses(config);
  const common = { hardFail: config.bindAddressHardFail, clock: systemClock, log };
  const open = async (reason: string, port: Parameters<typeof keepHttpPort>[0]) => {
    try {
      ports.push(await keepHttpPort(port));
    } catch (error) {
      tell(parts, { type: 'Warning', reason, message: messageOf(error) });
      await Promise.race([parts.events.idle(), pause(LAST_WORDS_MS)]);
      throw error;
    }
  };
  if (healthz !== undefined) {
    const handler = healthPages({
      health: () => parts.serving?.proxy().health,
      node: () => nodes.get({ name: nodeName }),
      probed: metrics?.probed,
    });
    const name = 'healthz';
    await open('FailedToStartProxierHealthcheck', { ...healthz, ...common, name, handler });
  }
  if (status !== undefined && metrics !== undefined) {
    const handler = statusPages({
      mode: config.mode,
      configz: () => configz(config, nodePortPrefixes(parts)),
      metrics,
      profiling: config.enableProfiling,
      log,
    });
    const name = 'metrics';
    await open('FailedToStartMetricServer', { ...status, ...common, name, handler });
  }
}

/** As kube-proxy shows them: `primary` is replaced by what it stands for. */
function nodePortPrefixes({ config, nodes, nodeName }: Parts): readonly string[] {
  const asked = config.nodePortAddresses;
  if (asked.length > 0 && asked[0] !== 'primary') return asked;
  const { addresses } = nodeAddresses(nodes.get({ name: nodeName }), config.bindAddress);
  return addresses
    .filter((address) => !LOOPBACK.includes(address))
    .map((address) => (address.includes(':') ? `${address}/128` : `${address}/32`));
}

function tell(
  { events, nodes, nodeName }: Parts,
  event: { type: 'Normal' | 'Warning'; reason: string; message: string },
): void {
  const node = nodes.get({ name: nodeName }) ?? { metadata: { name: nodeName } };
  events.record(resources.nodes, node, event);
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms).unref());
}
