/**
 * A client that counts, run by traffic.ts in the network of a pod, of a node or of the host: requests
 * on a connection each, and connections that stay and must get back every line that they send.
 * Ends, and prints what it saw, when its standard input ends.
 */
import { request } from 'node:http';
import { connect } from 'node:net';
import type { Seen, Traffic } from './traffic.ts';

const traffic = JSON.parse(process.argv[2] ?? '') as Traffic;
const seen: Seen = { sent: 0, failed: 0, failures: {}, byPod: {}, lines: 0, cut: 0 };
const open = new Set<Promise<void>>();
let stopping = false;
const checks: (() => Promise<void>)[] = [];

process.stdin.resume().once('end', () => void stop());
const timers = traffic.urls.map((url) => setInterval(() => track(ask(url)), traffic.everyMs));
for (const { host, port } of traffic.connections) keep(host, port);

function track(work: Promise<void>): void {
  const tracked = work.finally(() => open.delete(tracked));
  open.add(tracked);
}

function ask(url: string): Promise<void> {
  seen.sent += 1;
  return new Promise((resolve) => {
    const fail = (error: Error) => {
      seen.failed += 1;
      const text = `${url}: ${error.message}`;
      seen.failures[text] = (seen.failures[text] ?? 0) + 1;
      resolve();
    };
    const sent = request(url, { agent: false, timeout: 4000 }, (response) => {
      response.on('error', fail).resume();
      response.on('end', () => {
        const pod = String(response.headers['x-served-by']);
        seen.byPod[pod] = (seen.byPod[pod] ?? 0) + 1;
        if (response.statusCode === 200) resolve();
        else fail(new Error(`status ${response.statusCode}`));
      });
    });
    sent.on('timeout', () => sent.destroy(new Error('timed out')));
    sent.on('error', fail).end();
  });
}

/** Sends a line each 20 ms; the echo of each must come back, or the connection counts as cut. */
function keep(host: string, port: number): void {
  const socket = connect({ host, port, noDelay: true });
  let number = 0;
  let received = '';
  let awaited = '';
  const timer = setInterval(() => {
    if (stopping) return;
    number += 1;
    awaited += `line ${number}\n`;
    socket.write(`line ${number}\n`);
  }, 20);
  socket.on('data', (chunk: Buffer) => (received += chunk.toString()));
  const end = (why: string) => {
    clearInterval(timer);
    if (stopping) return;
    seen.cut += 1;
    seen.failures[why] = (seen.failures[why] ?? 0) + 1;
  };
  socket.on('error', (error) => end(`connection: ${error.message}`));
  socket.on('end', () => end('connection: the other side ended it'));
  const check = async () => {
    clearInterval(timer);
    const deadline = performance.now() + 3000;
    while (!received.endsWith(awaited) && performance.now() < deadline)
      await new Promise((resolve) => setTimeout(resolve, 10));
    if (!received.endsWith(awaited)) {
      seen.cut += 1;
      seen.failures['connection: lines are missing'] = 1;
    }
    seen.lines += number;
    socket.destroy();
  };
  checks.push(check);
}

async function stop(): Promise<void> {
  for (const timer of timers) clearInterval(timer);
  await Promise.all(open);
  stopping = true;
  await Promise.all(checks.map((check) => check()));
  process.stdout.write(JSON.stringify(seen), () => process.exit(0));
}
