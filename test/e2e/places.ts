/** Sends requests from where people send them: a pod, a process of a node, the outside. curl and bash are the clients. */
import { join } from 'node:path';
import type { Pod } from '../../src/api/types.ts';
import { environment, run, type Cluster, type Result } from './harness.ts';

/** A place to send from: a namespace to enter, or none for the outside. */
export type Place = { readonly name: string; readonly namespace?: string };

export const outside: Place = { name: 'outside' };

function nodeDir(cluster: Cluster, node: string): string {
  return join(environment.FAIRLEAD_ROOT, 'run', cluster.name, 'nodes', node);
}

/** A process of a node that is not in a pod. */
export function onNode(cluster: Cluster, node: string): Place {
  return { name: `a process of ${node}`, namespace: join(nodeDir(cluster, node), 'net') };
}

/** A process in a pod's network. */
export function inPod(cluster: Cluster, pod: Pod): Place {
  const { name, uid } = pod.metadata;
  const dir = nodeDir(cluster, pod.spec.nodeName ?? '');
  return { name: `pod ${name}`, namespace: join(dir, 'pods', uid ?? '', 'net') };
}

/** Runs a command in a place. */
export function at(place: Place, command: string, ...args: string[]): Promise<Result> {
  return place.namespace === undefined
    ? run(command, args)
    : run('nsenter', [`--net=${place.namespace}`, '--', command, ...args]);
}

export function hostPort(address: string, port: number): string {
  return address.includes(':') ? `[${address}]:${port}` : `${address}:${port}`;
}

export type Target = { readonly address: string; readonly port: number };

/** Asks for `path` so many times, each over a connection of its own; one line per answer, '' where there was none. */
export async function httpAnswers(
  place: Place,
  { address, port }: Target,
  path: string,
  times = 1,
): Promise<string[]> {
  const url = `http://${hostPort(address, port)}${path}`;
  const { stdout } = await at(
    place,
    'curl',
    '-gs',
    '--connect-timeout',
    '2',
    '-m',
    '5',
    '-H',
    'Connection: close',
    '-w',
    '\n',
    ...Array.from({ length: times }, () => url),
  );
  return stdout.split('\n').slice(0, -1);
}

/** Sends one datagram from a socket of its own, so many times; one line per answer, '' where there was none. */
export async function udpAnswers(
  place: Place,
  { address, port }: Target,
  text: string,
  times = 1,
): Promise<string[]> {
  const script = `for i in $(seq ${times}); do
    exec 3<>/dev/udp/${address}/${port}; printf '%s' '${text}' >&3
    timeout 1 dd bs=4096 count=1 <&3 2>/dev/null; echo; exec 3>&-
  done`;
  const { stdout } = await at(place, 'bash', '-c', script);
  return stdout.split('\n').slice(0, -1);
}

/** The exit code of one curl and the seconds it took: 7 is refused or unreachable, 28 no answer in time. */
export async function knock(
  place: Place,
  { address, port }: Target,
  seconds = 1,
): Promise<{ code: number; seconds: number }> {
  const { code, stdout } = await at(
    place,
    'curl',
    '-gs',
    '-o',
    '/dev/null',
    '-m',
    String(seconds),
    '-w',
    '%{time_total}',
    `http://${hostPort(address, port)}/hostname`,
  );
  return { code, seconds: Number(stdout) };
}
