/**
 * A host of the proxy tests, in a network namespace of its own: answers on a port with who it is
 * and whom it saw, and asks others when told to. Commands and answers are JSON lines.
 */
import { execFileSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { createSocket, type Socket as UdpSocket } from 'node:dgram';
import { connect, createServer } from 'node:net';
import { createInterface } from 'node:readline';

import type { IpFamily } from '../../src/lib/ip.ts';
import { RawSockets, type FirstPacket } from './raw-packets.ts';

export type Ask = {
  readonly protocol: 'TCP' | 'UDP';
  readonly source?: string;
  readonly sourcePort?: number;
  readonly address: string;
  readonly port: number;
  readonly timeoutMs?: number;
};

/** `server` answered, having seen `client`; or an error such as ECONNREFUSED or ETIMEDOUT. */
export type Reply =
  | { readonly server: string; readonly client: string }
  | { readonly error: string };

export type Command =
  | { readonly kind: 'ip'; readonly lines: readonly string[] }
  | { readonly kind: 'listen'; readonly address: string; readonly port: number }
  | { readonly kind: 'ask'; readonly asks: readonly Ask[] }
  | { readonly kind: 'send'; readonly packets: readonly FirstPacket[] }
  | { readonly kind: 'refusals' }
  | { readonly kind: 'icmpTypes'; readonly family: IpFamily }
  | { readonly kind: 'sctp'; readonly family: IpFamily };

/** Whoever answers may have to wait for a processor. */
const TIMEOUT_MS = 5000;
/** Long enough where no answer is expected. */
export const DROP_MS = 400;

/** Answers `server client` to every TCP connection and UDP datagram. */
export function listen(address: string, port: number): Promise<void> {
  const server = createServer((socket) => {
    socket.on('error', () => undefined);
    socket.end(`${socket.localAddress} ${socket.remoteAddress}`);
  });
  const udp = createSocket(address.includes(':') ? 'udp6' : 'udp4');
  udp.on('message', (_, from) => {
    udp.send(`${address} ${from.address}`, from.port, from.address);
  });
  return new Promise((resolve, reject) => {
    server.on('error', reject);
    udp.on('error', reject);
    server.listen(port, address, () => udp.bind(port, address, resolve));
    // They serve as long as something else goes on.
    server.unref();
    udp.unref();
  });
}

/** One question; never throws. */
export function ask(question: Ask): Promise<Reply> {
  return question.protocol === 'TCP' ? askTcp(question) : askUdp(question);
}

function askTcp({ address, port, source, sourcePort, timeoutMs = TIMEOUT_MS }: Ask) {
  return new Promise<Reply>((resolve) => {
    const socket = connect({
      host: address,
      port,
      ...(source === undefined ? {} : { localAddress: source }),
      ...(sourcePort === undefined ? {} : { localPort: sourcePort }),
    });
    let text = '';
    const end = (reply: Reply) => {
      clearTimeout(timer);
      socket.destroy();
      resolve(reply);
    };
    const timer = setTimeout(() => end({ error: 'ETIMEDOUT' }), timeoutMs);
    socket.on('data', (data) => (text += data.toString()));
    socket.on('end', () => end(parse(text)));
    socket.on('error', (error: NodeJS.ErrnoException) => end({ error: error.code ?? 'ERROR' }));
  });
}

function askUdp({ address, port, source, sourcePort, timeoutMs = TIMEOUT_MS }: Ask) {
  return new Promise<Reply>((resolve) => {
    const socket: UdpSocket = createSocket(address.includes(':') ? 'udp6' : 'udp4');
    const end = (reply: Reply) => {
      clearTimeout(timer);
      socket.close();
      resolve(reply);
    };
    const timer = setTimeout(() => end({ error: 'ETIMEDOUT' }), timeoutMs);
    socket.on('message', (data) => end(parse(data.toString())));
    socket.on('error', (error: NodeJS.ErrnoException) => end({ error: error.code ?? 'ERROR' }));
    // Connected, so that an ICMP error comes back to this socket.
    const go = () => socket.connect(port, address, () => socket.send('?'));
    if (source === undefined && sourcePort === undefined) go();
    else socket.bind({ ...(source ? { address: source } : {}), port: sourcePort ?? 0 }, go);
  });
}

function parse(text: string): Reply {
  const [server = '', client = ''] = text.split(' ');
  return { server, client };
}

async function run(command: Command): Promise<unknown> {
  if (command.kind === 'listen') return listen(command.address, command.port);
  if (command.kind === 'ask') return Promise.all(command.asks.map(ask));
  if (command.kind !== 'ip') return runRaw(command);
  // Addresses are usable at once.
  for (const name of ['all', 'default', 'eth0']) {
    writeFileSync(`/proc/sys/net/ipv6/conf/${name}/accept_dad`, '0');
  }
  execFileSync('ip', ['-batch', '-'], { input: command.lines.join('\n') });
  return undefined;
}

let sockets: RawSockets | undefined;

function runRaw(command: Exclude<Command, { kind: 'ip' | 'listen' | 'ask' }>): unknown {
  sockets ??= new RawSockets();
  if (command.kind === 'refusals') return sockets.refusals();
  if (command.kind === 'icmpTypes') return sockets.icmpTypes(command.family);
  if (command.kind === 'sctp') {
    return sockets.sctpPackets(command.family).map((bytes) => bytes.toHex());
  }
  for (const packet of command.packets) sockets.send(packet);
  return undefined;
}

if (process.argv[2] === 'peer') {
  const lines = createInterface(process.stdin);
  lines.on('close', () => process.exit());
  lines.on('line', (line) => {
    const { id, command } = JSON.parse(line) as { id: number; command: Command };
    run(command).then(
      (answer) => process.stdout.write(`${JSON.stringify({ id, answer })}\n`),
      (error: Error) => process.stdout.write(`${JSON.stringify({ id, error: error.message })}\n`),
    );
  });
  process.stdout.write('{"id":0}\n');
}
