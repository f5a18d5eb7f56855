/** The servers of the benchmark: how each is configured and started on port 5300 of loopback. */
import { spawn, spawnSync, type ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

import { externalZone, externalZoneFile, zoneFiles, type Row } from './objects.ts';

export const port = 5300;
const upstreamPort = 5399;
const root = join(import.meta.dirname, '..', '..');

export type ServerKind = {
  readonly name: string;
  /** The program; undefined: it is not on this machine. */
  readonly program: string | undefined;
  /** Writes its configuration below `directory` and says with which arguments it runs. */
  configure(directory: string, services: number): readonly string[];
  /** Rows it has no answer to, or would answer in another way. */
  readonly lacks?: readonly Row[];
};

/** Ours first: what follows is held against it. */
export function serverKinds(): ServerKind[] {
  const ours = (name: string, ...more: string[]): ServerKind => ({
    name,
    program: join(root, 'bin', 'fairlead'),
    configure: (directory) => {
      const where = ['--kubeconfig', join(directory, 'kubeconfig'), '--host', '127.0.0.1'];
      const ask = ['--port', String(port), '--upstream', `127.0.0.1:${upstreamPort}`];
      const pages = ['--health-port', '0', '--ready-port', '0', '--metrics-port', '0'];
      return ['dns', ...where, ...ask, ...pages, '--lame-duck', '0', ...more];
    },
  });
  return [
    ours('fairlead'),
    ours('fairlead, 1 worker', '--workers', '1'),
    ours('fairlead, 2 workers', '--workers', '2'),
    { name: 'CoreDNS', program: findProgram('coredns', process.env.COREDNS), configure: coredns },
    { name: 'NSD', program: findProgram('nsd'), configure: nsd },
    { name: 'Knot', program: findProgram('knotd'), configure: knot },
    { name: 'Unbound', program: findProgram('unbound'), configure: unbound },
  ];
}

function findProgram(name: string, known?: string): string | undefined {
  if (known !== undefined && existsSync(known)) return known;
  const directories = [...(process.env.PATH ?? '').split(':'), '/usr/sbin'];
  return directories.map((directory) => join(directory, name)).find(existsSync);
}

/** kubeadm's Corefile, but for the pages that nobody asks for here. */
function coredns(directory: string): string[] {
  const file = join(directory, 'Corefile');
  const text = `.:${port} {
    bind 127.0.0.1
    errors
    kubernetes cluster.local in-addr.arpa ip6.arpa {
      kubeconfig ${join(directory, 'kubeconfig')}
      pods insecure
      fallthrough in-addr.arpa ip6.arpa
      ttl 30
    }
    prometheus 127.0.0.1:9153
    forward . 127.0.0.1:${upstreamPort} {
      max_concurrent 1000
    }
    cache 30 {
      disable success cluster.local
      disable denial cluster.local
    }
    loadbalance
  }
  `;
  writeFileSync(file, text);
  return ['-conf', file];
}

function nsd(directory: string, services: number): string[] {
  return nsdWith(directory, port, zoneFiles(services));
}

function nsdWith(directory: string, at: number, zones: ReadonlyMap<string, string>): string[] {
  const own = join(directory, `nsd-${at}`);
  mkdirSync(own, { recursive: true });
  const zoneParts = writeZones(own, zones).map(
    ({ zone, file }) => `zone:\n  name: "${zone}"\n  zonefile: "${file}"\n`,
  );
  const file = join(own, 'nsd.conf');
  const text = `server:
  ip-address: 127.0.0.1@${at}
  server-count: 1
  username: ""
  chroot: ""
  database: ""
  pidfile: "${own}/pid"
  zonelistfile: "${own}/zone.list"
  xfrdfile: "${own}/xfrd.state"
  xfrdir: "${own}"
  ipv4-edns-size: 4096
  round-robin: yes
  minimal-responses: no
  rrl-ratelimit: 0
  tcp-count: 1000
remote-control:
  control-enable: no
${zoneParts.join('')}`;
  writeFileSync(file, text);
  return ['-d', '-c', file];
}

function writeZones(own: string, zones: ReadonlyMap<string, string>) {
  return [...zones].map(([zone, text]) => {
    const file = join(own, `${zone}.zone`);
    writeFileSync(file, text);
    return { zone, file };
  });
}

function knot(directory: string, services: number): string[] {
  const own = join(directory, 'knot');
  mkdirSync(own, { recursive: true });
  const zoneParts = writeZones(own, zoneFiles(services)).map(
    ({ zone, file }) => `  - domain: ${zone}\n    file: ${file}\n    zonefile-load: whole\n`,
  );
  const file = join(own, 'knot.conf');
  const text = `server:
    rundir: ${own}
    listen: 127.0.0.1@${port}
    udp-workers: 1
    tcp-workers: 1
    background-workers: 1
    udp-max-payload: 4096
    answer-rotation: on
database:
    storage: ${own}
zone:
${zoneParts.join('')}`;
  writeFileSync(file, text);
  return ['-c', file];
}

/** Our zones as local data, all else from upstream, kept. */
function unbound(directory: string, services: number): string[] {
  const own = join(directory, 'unbound');
  mkdirSync(own, { recursive: true });
  const local: string[] = [];
  for (const [zone, text] of zoneFiles(services)) {
    if (zone === externalZone) continue;
    local.push(`  local-zone: "${zone}." static\n`);
    for (const line of text.split('\n')) {
      const [owner = '', ...rest] = line.split(' ');
      if (owner.startsWith('$') || rest.length === 0) continue;
      const name = owner === '@' ? `${zone}.` : `${owner}.${zone}.`;
      local.push(`  local-data: '${name} 30 ${relative(rest.join(' '), zone)}'\n`);
    }
  }
  const file = join(own, 'unbound.conf');
  const text = `server:
  interface: 127.0.0.1@${port}
  num-threads: 1
  username: ""
  chroot: ""
  directory: "${own}"
  pidfile: "${own}/pid"
  use-syslog: no
  logfile: "${own}/log"
  do-daemonize: no
  do-not-query-localhost: no
  module-config: "iterator"
  edns-buffer-size: 4096
  max-udp-size: 4096
  rrset-roundrobin: yes
  incoming-num-tcp: 1000
${local.join('')}remote-control:
  control-enable: no
forward-zone:
  name: "."
  forward-addr: 127.0.0.1@${upstreamPort}
`;
  writeFileSync(file, text);
  return ['-d', '-c', file];
}

/** Names without a final dot in the data of a zone file are relative to the zone. */
function relative(record: string, zone: string): string {
  return record
    .replace(/SOA (\S+) (\S+)/, `SOA $1.${zone}. $2.${zone}.`)
    .replace(/(NS|SRV \d+ \d+ \d+) ([^ ]+[^. ])$/, `$1 $2.${zone}.`);
}

export type Running = { readonly pid: number; stop(): Promise<void> };

/** The server that the others ask about names outside: NSD, or none where it is not installed. */
export async function startUpstream(directory: string): Promise<Running | undefined> {
  const program = findProgram('nsd');
  if (program === undefined) return undefined;
  const args = nsdWith(directory, upstreamPort, new Map([[externalZone, externalZoneFile()]]));
  return start(program, args, { at: upstreamPort, question: `www.host-0.${externalZone} A` });
}

/** Starts it and waits until it answers the last name that it was given. */
export async function startServer(
  kind: ServerKind,
  directory: string,
  services: number,
): Promise<Running> {
  const args = kind.configure(directory, services);
  const last = services - 1;
  const question = `svc-${last}.ns-${last % 50}.svc.cluster.local A`;
  return start(kind.program!, args, { at: port, question });
}

async function start(
  program: string,
  args: readonly string[],
  { at, question }: { at: number; question: string },
): Promise<Running> {
  const child = spawn(program, args, { stdio: ['ignore', 'ignore', 'pipe'] });
  let said = '';
  child.stderr.on('data', (chunk: Buffer) => {
    said = (said + chunk.toString()).slice(-2000);
  });
  const deadline = performance.now() + 180_000;
  while (!answers(at, question)) {
    if (child.exitCode !== null || performance.now() > deadline) {
      throw new Error(`Cannot start "${program}": it does not answer ${question}\n${said}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
  return { pid: child.pid!, stop: () => stop(child) };
}

async function stop(child: ChildProcess): Promise<void> {
  if (child.exitCode !== null) return;
  const gone = new Promise((resolve) => child.once('exit', resolve));
  child.kill('SIGTERM');
  const timer = setTimeout(() => child.kill('SIGKILL'), 5000);
  await gone;
  clearTimeout(timer);
}

function answers(at: number, question: string): boolean {
  const options = ['@127.0.0.1', '-p', String(at), '+short', '+timeout=1', '+tries=1'];
  const asked = spawnSync('dig', [...options, ...question.split(' ')], { encoding: 'utf8' });
  return /^\d+\.\d+\.\d+\.\d+$/m.test(asked.stdout);
}
