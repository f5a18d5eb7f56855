/**
 * A node and what is around it: this process is the node; two local pods, a remote one and a client
 * outside are peers in namespaces of their own, each joined to the node by one veth.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createInterface } from 'node:readline';

import { listen, type Ask, type Command, type Reply } from './proxy-peer.ts';

export const TARGET_PORT = 8080;

export const ADDRESSES = {
  ipv4: {
    node: '172.29.0.11',
    local: '10.244.1.5',
    local2: '10.244.1.6',
    remote: '10.244.2.5',
    outside: '198.51.100.1',
  },
  ipv6: {
    node: 'fd00:172:29::11',
    local: 'fd00:10:244:1::5',
    local2: 'fd00:10:244:1::6',
    remote: 'fd00:10:244:2::5',
    outside: '2001:db8:1::1',
  },
} as const;

export type PeerName = 'local' | 'local2' | 'remote' | 'outside';
const PEERS: readonly PeerName[] = ['local', 'local2', 'remote', 'outside'];

/** A router that answers every refusal, and whose addresses are usable at once. */
const SETTINGS = [
  ['ipv4/ip_forward', '1'],
  ['ipv6/conf/all/forwarding', '1'],
  ['ipv4/icmp_ratelimit', '0'],
  ['ipv4/icmp_ratemask', '0'],
  ['ipv6/icmp/ratemask', '\n'],
  ['ipv6/icmp/ratelimit', '0'],
  ['ipv6/conf/all/accept_dad', '0'],
  ['ipv6/conf/default/accept_dad', '0'],
] as const;

type Answer = { readonly id: number; readonly answer?: unknown; readonly error?: string };

export class Peer {
  readonly #process: ChildProcess;
  /** By number of the command; 0 is the peer's first sign of life. */
  readonly #waiting = new Map<number, (answer: Answer) => void>();
  #commands = 0;
  readonly up: Promise<Answer>;

  constructor() {
    this.#process = spawn(
      'unshare',
      ['-n', process.execPath, `${import.meta.dirname}/proxy-peer.ts`, 'peer'],
      { stdio: ['pipe', 'pipe', 'inherit'] },
    );
    createInterface(this.#process.stdout!).on('line', (line) => {
      const answer = JSON.parse(line) as Answer;
      this.#waiting.get(answer.id)?.(answer);
      this.#waiting.delete(answer.id);
    });
    this.up = new Promise((resolve) => this.#waiting.set(0, resolve));
    // A test that fails while it builds must still end.
    this.#process.unref();
    process.once('exit', () => this[Symbol.dispose]());
  }

  /** unshare(1) becomes the program, so the process id is that of the peer. */
  get pid(): number {
    return this.#process.pid!;
  }

  async tell(command: Command): Promise<unknown> {
    this.#commands += 1;
    const id = this.#commands;
    const { answer, error } = await new Promise<Answer>((resolve) => {
      this.#waiting.set(id, resolve);
      this.#process.stdin!.write(`${JSON.stringify({ id, command })}\n`);
    });
    if (error !== undefined) throw new Error(error);
    return answer;
  }

  async ask(...asks: Ask[]): Promise<Reply[]> {
    return (await this.tell({ kind: 'ask', asks })) as Reply[];
  }

  [Symbol.dispose](): void {
    this.#process.kill('SIGKILL');
  }
}

export type Topology = Record<PeerName, Peer> & { [Symbol.dispose]: () => void };

/** Builds it in the namespace of this process, which must be a fresh one. */
export async function buildTopology(): Promise<Topology> {
  const peers = PEERS.map(() => new Peer());
  await Promise.all(peers.map((peer) => peer.up));
  ip('link set lo up');
  for (const [setting, value] of SETTINGS) writeFileSync(`/proc/sys/net/${setting}`, value);
  for (const [index, name] of PEERS.entries()) await join(peers[index]!, name);
  ip(`route add default via ${ADDRESSES.ipv4.outside} dev outside onlink`);
  ip(`-6 route add default via ${ADDRESSES.ipv6.outside} dev outside onlink`);
  for (const address of [ADDRESSES.ipv4.node, ADDRESSES.ipv6.node]) {
    await listen(address, TARGET_PORT);
  }
  const named = Object.fromEntries(PEERS.map((name, index) => [name, peers[index]!]));
  return {
    ...(named as Record<PeerName, Peer>),
    [Symbol.dispose]() {
      for (const peer of peers) peer[Symbol.dispose]();
    },
  };
}

async function join(peer: Peer, name: PeerName): Promise<void> {
  const { ipv4, ipv6 } = ADDRESSES;
  ip(`link add ${name} type veth peer name eth0 netns ${peer.pid}`);
  ip(`link set ${name} up`);
  ip(`addr add ${ipv4.node}/32 dev ${name}`);
  ip(`addr add ${ipv6.node}/128 dev ${name} nodad`);
  await peer.tell({
    kind: 'ip',
    lines: [
      'link set lo up',
      'link set eth0 up',
      `addr add ${ipv4[name]}/32 dev eth0`,
      `addr add ${ipv6[name]}/128 dev eth0 nodad`,
      `route add ${ipv4.node} dev eth0`,
      `route add default via ${ipv4.node}`,
      `route add ${ipv6.node} dev eth0`,
      `route add default via ${ipv6.node} dev eth0`,
    ],
  });
  ip(`route add ${ipv4[name]} dev ${name}`);
  ip(`-6 route add ${ipv6[name]} dev ${name}`);
  await peer.tell({ kind: 'listen', address: ipv4[name], port: TARGET_PORT });
  await peer.tell({ kind: 'listen', address: ipv6[name], port: TARGET_PORT });
}

/** `ip <words>` in the node's namespace. */
export function ip(words: string): void {
  execFileSync('ip', words.split(' '));
}
