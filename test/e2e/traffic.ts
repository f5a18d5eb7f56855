/** Load from pods, from nodes and from outside, counted by clients of our own. */
import { once } from 'node:events';
import { join } from 'node:path';
import { environment, start } from './harness.ts';

export type Traffic = {
  readonly urls: readonly string[];
  /** Between two requests to each of the URLs. */
  readonly everyMs: number;
  readonly connections: readonly { readonly host: string; readonly port: number }[];
};

export type Seen = {
  sent: number;
  failed: number;
  failures: Record<string, number>;
  byPod: Record<string, number>;
  /** Sent on the connections that stay. */
  lines: number;
  cut: number;
};

const peer = join(import.meta.dirname, 'traffic-peer.ts');

/** Starts a client in a network: the path of its file, or none for the host's. Call the result to end it. */
export function startTraffic(network: string | undefined, traffic: Traffic): () => Promise<Seen> {
  const enter = network === undefined ? [] : ['nsenter', `--net=${network}`];
  const [command, ...args] = [...enter, process.execPath, peer, JSON.stringify(traffic)];
  const child = start(command, args);
  let text = '';
  child.stdout!.on('data', (chunk: Buffer) => (text += chunk.toString()));
  let errors = '';
  child.stderr!.on('data', (chunk: Buffer) => (errors += chunk.toString()));
  const closed = once(child, 'close');
  return async () => {
    child.stdin!.end();
    await closed;
    if (text === '') throw new Error(`the client died: ${errors}`);
    return JSON.parse(text) as Seen;
  };
}

/** The network of a node. */
export function nodeNetwork(lab: string, node: string): string {
  return join(environment.FAIRLEAD_ROOT, 'run', lab, 'nodes', node, 'net');
}

/** The network of a pod. */
export function podNetwork(
  lab: string,
  pod: { spec: { nodeName: string }; metadata: { uid: string } },
) {
  const { spec, metadata } = pod;
  const run = join(environment.FAIRLEAD_ROOT, 'run', lab);
  return join(run, 'nodes', spec.nodeName, 'pods', metadata.uid, 'net');
}
