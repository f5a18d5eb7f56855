/**
 * Opens so many connections a second, asks on each who answers, and counts what went wrong; beside
 * them some connections that stay and must get back every line they send. Ends, and prints what it
 * saw, when its standard input ends.
 */
import { connect } from 'node:net';

export type Load = {
  readonly perSecond: number;
  /** Connections that stay, to each target. */
  readonly kept: number;
  /** Whoever answers must have a name that begins with `expect`. */
  readonly targets: readonly { host: string; port: number; expect: string }[];
};

export type Outcome = 'answered' | 'refused' | 'cut' | 'timedOut' | 'misrouted';

export type Counts = Record<Outcome, number> & {
  sent: number;
  /** Answered only after the client's kernel had to send its SYN again, after a second. */
  slow: number;
  kept: number;
  keptCut: number;
  /** When something went wrong, milliseconds since the epoch. */
  readonly failedAt: number[];
};

const TICK_MS = 10;
/** A client that was not let run does not make up for more than this. */
const BURST_MAX = 200;
const TIMEOUT_MS = 5000;
const SLOW_MS = 900;
const LINE_MS = 50;

const load = JSON.parse(process.argv[2] ?? '') as Load;
const counts: Counts = {
  sent: 0,
  answered: 0,
  refused: 0,
  cut: 0,
  timedOut: 0,
  misrouted: 0,
  slow: 0,
  kept: 0,
  keptCut: 0,
  failedAt: [],
};
const open = new Set<Promise<void>>();
const closers: (() => void)[] = [];
const startedAt = performance.now();
let stopping = false;

const timer = setInterval(() => {
  const due = Math.floor(((performance.now() - startedAt) / 1000) * load.perSecond);
  for (let burst = 0; counts.sent < due && burst < BURST_MAX; burst += 1) ask(counts.sent);
}, TICK_MS);
for (const target of load.targets) {
  for (let at = 0; at < load.kept; at += 1) keep(target.host, target.port);
}
process.stdin.resume().once('end', () => void stop());

function ask(number: number): void {
  const { host, port, expect } = load.targets[number % load.targets.length]!;
  counts.sent += 1;
  const askedAt = performance.now();
  const done = new Promise<void>((resolve) => {
    const socket = connect({ host, port });
    let text = '';
    let settled = false;
    const settle = (outcome: Outcome) => {
      if (settled) return;
      settled = true;
      clearTimeout(patience);
      socket.destroy();
      counts[outcome] += 1;
      if (outcome !== 'answered') counts.failedAt.push(Date.now());
      else if (performance.now() - askedAt > SLOW_MS) counts.slow += 1;
      resolve();
    };
    const patience = setTimeout(() => settle('timedOut'), TIMEOUT_MS);
    socket.on('connect', () =>
      socket.write('GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n'),
    );
    socket.on('data', (data: Buffer) => (text += data.toString('latin1')));
    socket.on('end', () => settle(judge(text, expect)));
    socket.on('error', ({ code }: NodeJS.ErrnoException) =>
      settle(code === 'ECONNREFUSED' ? 'refused' : 'cut'),
    );
  });
  open.add(done);
  void done.finally(() => open.delete(done));
}

function judge(text: string, expect: string): Outcome {
  const server = /^x-served-by: (\S+)/im.exec(text)?.[1];
  if (server === undefined) return 'cut';
  return server.startsWith(expect) ? 'answered' : 'misrouted';
}

function keep(host: string, port: number): void {
  const socket = connect({ host, port, noDelay: true });
  let sent = 0;
  let received = 0;
  counts.kept += 1;
  const lines = setInterval(() => {
    sent += 1;
    socket.write(`line ${sent}\n`);
  }, LINE_MS);
  socket.on('data', (data: Buffer) => {
    for (const byte of data) if (byte === 10) received += 1;
  });
  const end = () => {
    clearInterval(lines);
    if (stopping) return;
    counts.keptCut += 1;
    counts.failedAt.push(Date.now());
  };
  socket.on('error', end).on('end', end);
  closers.push(() => {
    clearInterval(lines);
    // What is on its way when the time is up may be missing.
    if (received < sent - 1000 / LINE_MS) counts.keptCut += 1;
    socket.destroy();
  });
}

async function stop(): Promise<void> {
  clearInterval(timer);
  await Promise.all(open);
  stopping = true;
  for (const close of closers) close();
  process.stdout.write(JSON.stringify(counts), () => process.exit(0));
}
