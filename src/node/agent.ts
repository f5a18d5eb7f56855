/** The node agent: runs the pods the API gives to this node, and says in the API how they are. */
import { mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { resources } from '../api/resources.ts';
import type { Pod, Service } from '../api/types.ts';
import type { Client } from '../client/client.ts';
import { createEventRecorder } from '../client/events.ts';
import { Informer } from '../client/informer.ts';
import { systemClock, type Clock } from '../lib/clock.ts';
import { messageOf, WorldError } from '../lib/errors.ts';
import { parseCidr, type Cidr } from '../lib/ip.ts';
import type { Logger } from '../lib/log.ts';
import { parseResolvConf } from './environment/resolv-conf.ts';
import { LogStore } from './logs/log-store.ts';
import { nodeCapacity } from './node-object.ts';
import { AddressPool } from './pods/address-pool.ts';
import type { NodeContext } from './pods/context.ts';
import { RecordStore } from './pods/record.ts';
import { removeSandbox } from './pods/sandbox.ts';
import { PodWorker } from './pods/worker.ts';
import { Registration } from './registration.ts';
import type { Runtime } from './runtime.ts';
import { startNodeServer, type NodeServer, type NodeTls } from './server/server.ts';
import { ObjectStore } from './volumes/object-store.ts';
import { TokenStore } from './volumes/tokens.ts';

export type NodeAgentOptions = {
  readonly client: Client;
  readonly nodeName: string;
  /** One per family; the first is where the API server reaches the agent. */
  readonly nodeIPs: readonly string[];
  readonly runtime: Runtime;
  /** In memory (under /run): what is lost together with the pods when the machine stops. */
  readonly dir: string;
  /** On disk: logs and emptyDir volumes. */
  readonly stateDir: string;
  readonly clusterDomain: string;
  readonly clusterDns: readonly string[];
  readonly log: Logger;
  readonly clock?: Clock;
  readonly tls: NodeTls;
  /** 10250, as a kubelet's; 0 takes any free one. */
  readonly port?: number;
  readonly labels?: Readonly<Record<string, string>>;
  /** Absent: the agent waits for the Node's spec to name them. */
  readonly podCidrs?: readonly string[];
  /** What pods of dnsPolicy Default see; `/etc/resolv.conf` when absent. */
  readonly resolvConfPath?: string;
  readonly leaseSeconds?: number;
  readonly podsMax?: number;
  /** Shared with the Service proxy of the same process; the agent does not start or stop it. */
  readonly services?: Informer<Service>;
};

export type NodeAgent = {
  /** Where the API server reaches logs and exec. */
  readonly port: number;
  /** Settles when the node is Ready in the API. */
  readonly registered: Promise<void>;
  /** Stops the agent; its pods run on and the next agent takes them over. */
  stop(): Promise<void>;
  [Symbol.asyncDispose](): Promise<void>;
};

const kubeletPort = 10_250;
/** 110 is a kubelet's default; small pods on one machine may be more. */
const podsMaxDefault = 250;
const leaseSecondsDefault = 40;

/** Registers the node and runs its pods until `stop`. Works on while the API is away. */
export async function startNodeAgent(options: NodeAgentOptions): Promise<NodeAgent> {
  const agent = new Agent(options);
  await agent.start();
  return {
    port: agent.port,
    registered: agent.registered,
    stop: () => agent.stop(),
    [Symbol.asyncDispose]: () => agent.stop(),
  };
}

class Agent {
  readonly #options: NodeAgentOptions;
  readonly #clock: Clock;
  readonly #context: NodeContext;
  readonly #events: ReturnType<typeof createEventRecorder>;
  readonly #services: Informer<Service>;
  readonly #pods: Informer<Pod>;
  /** By pod uid. */
  readonly #workers = new Map<string, PodWorker>();
  readonly #poolReady = Promise.withResolvers<AddressPool>();
  #registration: Registration | undefined;
  #server: NodeServer | undefined;

  constructor(options: NodeAgentOptions) {
    this.#options = options;
    const { client, log } = options;
    this.#clock = options.clock ?? systemClock;
    const clock = this.#clock;
    this.#services =
      options.services ?? new Informer<Service>({ client, resource: resources.services, clock });
    this.#pods = new Informer<Pod>({
      client,
      resource: resources.pods,
      fieldSelector: `spec.nodeName=${options.nodeName}`,
      clock,
      log,
    });
    const host = options.nodeName;
    this.#events = createEventRecorder({ client, component: 'kubelet', host, clock, log });
    this.#context = this.#makeContext();
  }

  get port(): number {
    return this.#server?.port ?? 0;
  }

  get registered(): Promise<void> {
    return this.#registration?.registered ?? Promise.resolve();
  }

  async start(): Promise<void> {
    const { client, log, nodeName, nodeIPs, runtime, labels = {}, podCidrs } = this.#options;
    // The lists are on their way while the rest is set up.
    if (this.#options.services === undefined) this.#services.start();
    this.#pods.start();
    const { sandboxes } = await runtime.adopt();
    this.#server = await startNodeServer({
      host: nodeIPs[0] ?? '127.0.0.1',
      port: this.#options.port ?? kubeletPort,
      tls: this.#options.tls,
      log,
      runtime,
      logs: this.#context.logs,
      findPod: (key) => this.#findPod(key),
      pods: () => [...this.#workers.values()].map((worker) => worker.pod),
    });
    this.#registration = new Registration({
      client,
      clock: this.#clock,
      log,
      leaseSeconds: this.#options.leaseSeconds ?? leaseSecondsDefault,
      facts: {
        nodeName,
        nodeIPs,
        labels,
        podCidrs,
        port: this.#server.port,
        runtimeVersion: runtime.version,
        podsMax: this.#options.podsMax ?? podsMaxDefault,
      },
    });
    void this.#registration.podCidrs.then((cidrs) => this.#openPool(cidrs));
    runtime.onChange((id) => this.#workers.get(id.split('/')[0] ?? '')?.note());
    this.#pods.onChange((old, pod) => this.#onPod(old, pod));
    void this.#pods.synced.then(() => this.#removeOrphans(sandboxes));
  }

  async stop(): Promise<void> {
    this.#pods.stop();
    if (this.#options.services === undefined) this.#services.stop();
    this.#registration?.stop();
    this.#events.stop();
    await Promise.all([...this.#workers.values()].map((worker) => worker.stop()));
    this.#context.objects.stop();
    this.#context.logs.close();
    await this.#server?.stop();
  }

  #makeContext(): NodeContext {
    const { client, runtime, log, nodeName, nodeIPs, clusterDomain, clusterDns, dir, stateDir } =
      this.#options;
    const clock = this.#clock;
    const memoryDir = join(dir, 'agent', 'pods');
    const diskDir = join(stateDir, 'volumes');
    for (const path of [memoryDir, diskDir]) mkdirSync(path, { recursive: true, mode: 0o700 });
    return {
      client,
      runtime,
      clock,
      log,
      nodeName,
      nodeIPs,
      clusterDomain,
      clusterDns,
      memoryDir,
      diskDir,
      hostResolvConf: readHostResolvConf(this.#options.resolvConfPath),
      allocatable: nodeCapacity(this.#options.podsMax ?? podsMaxDefault),
      addresses: () => this.#poolReady.promise,
      records: new RecordStore(join(dir, 'agent', 'records')),
      tokens: new TokenStore(client, clock),
      objects: new ObjectStore(client),
      logs: new LogStore(join(stateDir, 'logs'), clock),
      services: async () => {
        await this.#services.synced;
        return this.#services.list();
      },
      record: (pod, { type, reason, message, container }) =>
        this.#events.record(resources.pods, pod, {
          type,
          reason,
          message,
          ...(container === undefined ? {} : { fieldPath: `spec.containers{${container}}` }),
        }),
    };
  }

  #openPool(cidrs: readonly string[]): void {
    const parsed = cidrs.map(parseCidr).filter((cidr): cidr is Cidr => cidr !== undefined);
    if (parsed.length === 0 || parsed.length < cidrs.length) {
      throw new WorldError(
        'POD_ADDRESSES',
        `Cannot use pod CIDRs "${cidrs.join(', ')}" of node "${this.#options.nodeName}": ` +
          'they are no prefixes',
      );
    }
    const path = join(this.#options.dir, 'agent', 'addresses.json');
    this.#poolReady.resolve(new AddressPool(parsed, path));
  }

  #onPod(old: Pod | undefined, pod: Pod | undefined): void {
    const uid = (pod ?? old)?.metadata.uid ?? '';
    const worker = this.#workers.get(uid);
    if (pod === undefined) return worker?.remove();
    if (worker !== undefined) return worker.update(pod);
    const made = new PodWorker({
      context: this.#context,
      pod,
      onGone: () => this.#workers.delete(uid),
    });
    this.#workers.set(uid, made);
    made.note();
  }

  /** What an earlier agent began for pods that are no longer in the API goes (K5). */
  async #removeOrphans(sandboxes: readonly string[]): Promise<void> {
    const { records, logs } = this.#context;
    const known = new Set([...sandboxes, ...records.uids(), ...logs.pods()]);
    for (const uid of known) {
      if (this.#workers.has(uid)) continue;
      try {
        await removeSandbox(this.#context, uid);
        records.remove(uid);
        logs.removePod(uid);
      } catch (error) {
        this.#options.log.error({ uid, error: messageOf(error) }, 'cannot remove orphan');
      }
    }
    const pool = await this.#poolReady.promise;
    for (const uid of pool.holders()) if (!this.#workers.has(uid)) pool.release(uid);
  }

  #findPod(key: { namespace: string; name: string }): PodWorker | undefined {
    const pod = this.#pods.get(key);
    const uid = pod?.metadata.uid;
    return uid === undefined ? undefined : this.#workers.get(uid);
  }
}

/** A stub resolver on loopback is of no use to a pod: its own file names the real servers. */
function readHostResolvConf(path: string | undefined) {
  const conf = parseResolvConf(readIfPresent(path ?? '/etc/resolv.conf'));
  const onlyLoopback = conf.nameservers.every((server) => /^(127\.|::1$)/.test(server));
  if (path !== undefined || !onlyLoopback) return conf;
  const real = readIfPresent('/run/systemd/resolve/resolv.conf');
  return real === '' ? conf : parseResolvConf(real);
}

function readIfPresent(path: string): string {
  try {
    return readFileSync(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return '';
    throw error;
  }
}
