/**
 * A node with its proxy, a client and a server on it, a second node with another server behind: each a
 * network namespace with a process that holds it, joined by veths and plain routes.
 */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { constants, setPriority } from 'node:os';
import { join } from 'node:path';
import { createInterface, type Interface } from 'node:readline';
import { NODE_IP, PODS, TARGET_PORT } from './node.ts';
import type { Done, Task } from './peer.ts';

const NODE_2_IP = '172.29.0.12';

type Running = {
  readonly child: ChildProcess;
  readonly lines: Interface;
  /** Rejected when the process is no more. */
  readonly ended: Promise<never>;
};

export class World {
  readonly services: number;
  readonly #children: ChildProcess[] = [];
  #client!: Running;

  private constructor(services: number) {
    this.services = services;
  }

  static async build(services: number): Promise<World> {
    const world = new World(services);
    await world.#build();
    return world;
  }

  async run(task: Task): Promise<Done> {
    const { child, lines, ended } = this.#client;
    child.stdin!.write(`${JSON.stringify(task)}\n`);
    const [line] = (await Promise.race([once(lines, 'line'), ended])) as [string];
    return JSON.parse(line) as Done;
  }

  [Symbol.dispose](): void {
    for (const child of this.#children) child.kill('SIGKILL');
  }

  async #build(): Promise<void> {
    const node = this.#namespace();
    const other = this.#namespace();
    const pods = { client: this.#namespace(), local: this.#namespace(), remote: this.#namespace() };
    for (const pid of [node, other]) inside(pid, 'sysctl', '-qw', 'net.ipv4.ip_forward=1');
    this.#link(node, other);
    joinPod(node, pods.client, { name: 'client', address: PODS.client, gateway: NODE_IP });
    joinPod(node, pods.local, { name: 'local', address: PODS.local, gateway: NODE_IP });
    joinPod(other, pods.remote, { name: 'remote', address: PODS.remote, gateway: NODE_2_IP });
    inside(node, 'ip', 'route', 'add', '10.244.2.0/24', 'via', NODE_2_IP);
    inside(other, 'ip', 'route', 'add', '10.244.1.0/24', 'via', NODE_IP);
    const peer = join(import.meta.dirname, 'peer.ts');
    for (const pod of ['local', 'remote'] as const) {
      for (const protocol of ['tcp', 'udp']) {
        await this.#start(pods[pod], peer, protocol, PODS[pod], String(TARGET_PORT));
      }
    }
    this.#client = await this.#start(pods.client, peer, 'client');
    await this.#start(node, join(import.meta.dirname, 'node.ts'), String(this.services));
  }

  /** The process id of whoever holds a new one. */
  #namespace(): number {
    const child = spawn('unshare', ['-n', 'sleep', '100000'], { stdio: 'ignore' });
    this.#children.push(child);
    // unshare(1) becomes the sleeper, once it has left our namespace.
    while (spawnSync('readlink', [`/proc/${child.pid}/ns/net`]).stdout.equals(ownNetwork)) {
      spawnSync('sleep', ['0.01']);
    }
    inside(child.pid!, 'ip', 'link', 'set', 'lo', 'up');
    return child.pid!;
  }

  #link(node: number, other: number): void {
    inside(node, ...'ip link add eth0 type veth peer name eth0 netns'.split(' '), String(other));
    for (const [pid, address] of [
      [node, NODE_IP],
      [other, NODE_2_IP],
    ] as const) {
      inside(pid, 'ip', 'addr', 'add', `${address}/24`, 'dev', 'eth0');
      inside(pid, 'ip', 'link', 'set', 'eth0', 'up');
    }
  }

  async #start(pid: number, ...script: string[]): Promise<Running> {
    const args = ['-t', String(pid), '-n', process.execPath, ...script];
    const child = spawn('nsenter', args, { stdio: ['pipe', 'pipe', 'inherit'] });
    this.#children.push(child);
    setPriority(child.pid!, constants.priority.PRIORITY_HIGHEST);
    const lines = createInterface(child.stdout);
    const ended = fails(child);
    // Whoever waits for a line hears of it; nobody does when all is over.
    ended.catch(() => undefined);
    await Promise.race([once(lines, 'line'), ended]);
    return { child, lines, ended };
  }
}

const ownNetwork = spawnSync('readlink', ['/proc/self/ns/net']).stdout;

/** As a node's pods are joined: a veth, a route for the one address, the node for everything else. */
function joinPod(
  node: number,
  pod: number,
  { name, address, gateway }: { name: string; address: string; gateway: string },
): void {
  inside(node, ...`ip link add ${name} type veth peer name eth0 netns ${pod}`.split(' '));
  inside(node, ...`ip link set ${name} up`.split(' '));
  inside(node, ...`ip route add ${address}/32 dev ${name}`.split(' '));
  inside(pod, ...`ip addr add ${address}/32 dev eth0`.split(' '));
  inside(pod, ...'ip link set eth0 up'.split(' '));
  inside(pod, ...`ip route add ${gateway}/32 dev eth0`.split(' '));
  inside(pod, ...`ip route add default via ${gateway} dev eth0`.split(' '));
  inside(node, 'sysctl', '-qw', `net.ipv4.conf.${name}.proxy_arp=1`);
}

function inside(pid: number, ...command: string[]): void {
  const { status, stderr } = spawnSync('nsenter', ['-t', String(pid), '-n', ...command], {
    encoding: 'utf8',
  });
  if (status !== 0) throw new Error(`${command.join(' ')} failed: ${stderr}`);
}

async function fails(child: ChildProcess): Promise<never> {
  const [code, signal] = (await once(child, 'exit')) as [number | null, string | null];
  throw new Error(`${child.spawnargs.slice(4).join(' ')} ended: ${code ?? signal}`);
}
