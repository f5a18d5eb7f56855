/** What a person can get wrong, or the machine can lack: a clear word, and nothing is lost. */
import assert from 'node:assert/strict';
import { existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { createServer } from 'node:net';
import { join } from 'node:path';
import { DatabaseSync } from 'node:sqlite';
import { after, test } from 'node:test';
import {
  Cluster,
  componentPids,
  environment,
  eventually,
  fairlead,
  fairleadOk,
  hostSnapshot,
  must,
  removeHome,
  run,
  sameHost,
} from './harness.ts';

const hostBefore = hostSnapshot();
const program = join(import.meta.dirname, '..', '..', 'bin', 'fairlead');
const state = join(environment.FAIRLEAD_ROOT, 'state');
after(async () => {
  await fairlead('down', '--all');
  if (readFileSync('/proc/self/mountinfo', 'utf8').includes(` ${state} `))
    await run('umount', [state]);
  removeHome();
});

const refused: { what: string; args: string[]; says: RegExp }[] = [
  {
    what: 'an unknown flag',
    args: ['up', '--node', '2'],
    says: /unknown option '--node'\n\(Did you mean --nodes\?\)/,
  },
  {
    what: 'an unknown command',
    args: ['statsu'],
    says: /unknown command 'statsu'\n\(Did you mean status\?\)/,
  },
  {
    what: 'an unknown family',
    args: ['up', '--ip-family', 'ipx'],
    says: /'ipx' is invalid\. Allowed choices are ipv4, ipv6, dual/,
  },
  {
    what: 'no number of nodes',
    args: ['up', '--nodes', 'three'],
    says: /"three" is no whole number/,
  },
  { what: 'no node at all', args: ['up', '--nodes', '0'], says: /--nodes is 0, .* \[BAD_FLAG\]/s },
  {
    what: 'a bad name',
    args: ['up', '--name', 'My_Lab'],
    says: /lab name "My_Lab".*\[BAD_FLAG\]/s,
  },
  { what: 'no port', args: ['up', '--api-port', '70000'], says: /"70000" is no port/ },
  {
    what: 'a range that is none',
    args: ['up', '--pod-cidr', '10.300.0.0/16'],
    says: /--pod-cidr "10\.300\.0\.0\/16": it is no address range.*\[BAD_FLAG\]/s,
  },
  {
    what: 'a range of the wrong family',
    args: ['up', '--service-cidr', 'fd00::/112'],
    says: /it has no ipv4 range, and --ip-family is ipv4.*\[BAD_FLAG\]/s,
  },
  {
    what: 'ranges that overlap each other',
    args: ['up', '--service-cidr', '10.50.0.0/16', '--pod-cidr', '10.50.0.0/16'],
    says: /--service-cidr 10\.50\.0\.0\/16 overlaps --pod-cidr 10\.50\.0\.0\/16\n.*\[RANGE_OVERLAP\]/,
  },
  {
    what: 'a range over the node network',
    args: ['up', '--service-cidr', '172.16.0.0/12'],
    says: /overlaps the node network 172\.29\.0\.0\/24\n.*\[RANGE_OVERLAP\]/,
  },
  {
    what: 'a range too small for the nodes',
    args: ['up', '--pod-cidr', '10.50.0.0/24'],
    says: /3 nodes need a \/24 each.*\[BAD_FLAG\]/s,
  },
  { what: 'no component', args: ['logs'], says: /missing required argument 'component'/ },
  { what: 'one argument too many', args: ['up', 'now'], says: /too many arguments/ },
];
for (const { what, args, says } of refused) {
  test(`${what} is refused, and nothing is touched`, async () => {
    const { code, stderr, stdout } = await fairlead(...args);
    assert.match(stderr, says);
    assert.deepEqual([code, stdout], [2, '']);
    await sameHost(hostBefore);
  });
}

for (const [family, address, range] of [
  ['-4', '10.96.7.1/24', '10.96.7.0/24'],
  ['-6', 'fd00:10:96::1/120', 'fd00:10:96::/120'],
]) {
  test(`a route of the host in the way is found before anything is touched (${family})`, async (t) => {
    must(await run('ip', 'link add vpn0 type veth peer name vpn1'.split(' ')), 'ip');
    t.after(() => run('ip', ['link', 'delete', 'vpn0']));
    // Addresses that the kernel makes itself appear after a while: the snapshot could be too early.
    for (const name of ['vpn0', 'vpn1'])
      must(await run('ip', ['link', 'set', name, 'addrgenmode', 'none', 'up']), 'ip');
    must(
      await run(
        'ip',
        [family!, 'address', 'add', address!, 'dev', 'vpn0', 'nodad'].filter(
          (word) => family === '-6' || word !== 'nodad',
        ),
      ),
      'ip',
    );
    const withRoute = hostSnapshot();
    const { code, stderr } = await fairlead('up', '--ip-family', family === '-4' ? 'ipv4' : 'dual');
    assert.equal(code, 2);
    assert.ok(stderr.includes(`overlaps the host's route to ${range} by vpn0`), stderr);
    assert.match(stderr, /Choose another range with --service-cidr {2}\[RANGE_OVERLAP\]/);
    await sameHost(withRoute);
  });
}

test('a port that is taken is named', async () => {
  const stranger = createServer().listen(6500, '127.0.0.1');
  await once(stranger, 'listening');
  const { code, stderr } = await fairlead('up', '--api-port', '6500');
  stranger.close();
  assert.equal(code, 2);
  assert.match(stderr, /--api-port 6500: something listens on 127\.0\.0\.1:6500\n.*\[PORT_TAKEN\]/);
  await sameHost(hostBefore);
});

test('the usual port taken: another one is chosen', async () => {
  const stranger = createServer().listen(6443, '127.0.0.1');
  await once(stranger, 'listening');
  const text = await fairleadOk('up', '--nodes', '1', '--json');
  stranger.close();
  assert.equal((JSON.parse(text) as { server: string }).server, 'https://127.0.0.1:6444');
  await fairleadOk('down');
});

test('not root and no user namespaces: one sentence says what to do', async () => {
  // In a user namespace whose parent's limit of further ones is 0, as somebody without root in it.
  const script = `exec 9<>"$1"
    unshare --user --map-user=1000 sh -c 'echo ready >"$1"; read -r go <"$1.go"; exec ${program} up' sh "$1" &
    read -r ready <&9; echo 0 >/proc/sys/user/max_user_namespaces; echo go >"$1.go"; wait $!`;
  const fifo = join(environment.TMPDIR, 'ready');
  must(await run('mkfifo', [fifo, `${fifo}.go`]), 'mkfifo');
  const { code, stderr } = await run('unshare', [
    '--user',
    '--map-root-user',
    'bash',
    '-c',
    script,
    'bash',
    fifo,
  ]);
  rmSync(fifo);
  rmSync(`${fifo}.go`);
  assert.equal(code, 2, stderr);
  assert.match(
    stderr,
    /^Cannot bring up a lab: not root, and .*\n {2}Run it with sudo, or .*\[NOT_ROOT\]\n$/,
  );
  await sameHost(hostBefore);
});

const databases: {
  what: string;
  spoil: (file: string) => unknown;
  says: RegExp;
}[] = [
  {
    what: 'a corrupt database',
    spoil: (file) => writeFileSync(file, 'This is no database at all.\n'.repeat(500)),
    says: /Cannot open database .*fairlead\.db.*it does not start as an SQLite file does/,
  },
  {
    what: 'a database of a newer version',
    spoil: (file) => {
      // The dead server's locks go a moment after it.
      using database = new DatabaseSync(file, { timeout: 5000 });
      database.exec('PRAGMA user_version=9');
    },
    says: /version 9/,
  },
];
for (const { what, spoil, says } of databases) {
  test(`${what} is refused and stays as it is; up and logs say why`, async () => {
    await Cluster.up('lab', '--nodes', '1');
    const { supervisor, main } = componentPids('lab', 'server');
    for (const pid of [supervisor, main]) process.kill(pid, 'SIGKILL');
    const file = join(state, 'lab', 'fairlead.db');
    await eventually('the server is dead', () => !existsSync(`/proc/${main}/exe`));
    for (const suffix of ['-wal', '-shm'])
      if (what.includes('corrupt')) rmSync(file + suffix, { force: true });
    await spoil(file);
    const bytes = readFileSync(file);
    const started = performance.now();
    const { code, stderr } = await fairlead('up');
    assert.ok(performance.now() - started < 5000, 'soon');
    assert.equal(code, 2);
    assert.match(stderr, says);
    assert.match(await fairleadOk('logs', 'server', '--tail', '1'), says);
    assert.ok(readFileSync(file).equals(bytes), 'the file is as it was');
    await fairleadOk('down');
    await sameHost(hostBefore);
  });
}

test('invalid objects: kubectl shows the fields that are wrong', async () => {
  const cluster = await Cluster.up('lab', '--nodes', '1');
  const apply = async (yaml: string) => {
    const file = join(environment.TMPDIR, 'object.yaml');
    // kubectl 1.20 takes text that begins with a brace for JSON.
    writeFileSync(file, `---\n${yaml}`);
    const result = await cluster.kubectl('apply', '-f', file);
    rmSync(file);
    assert.equal(result.code, 1);
    return result.stderr;
  };
  const service = (spec: string) =>
    `{apiVersion: v1, kind: Service, metadata: {name: web}, spec: ${spec}}`;
  assert.match(await apply('apiVersion: v1\nkind: [Service\n'), /error converting YAML to JSON/);
  assert.match(
    await apply(service('{ports: [{port: 99999}, {port: 80}]}')),
    /The Service "web" is invalid: \n\* spec\.ports\[0\]\.name: Required value\n.*spec\.ports\[0\]\.port: Invalid value: 99999: must be between 1 and 65535, inclusive/s,
  );
  assert.match(
    await apply(service('{prots: [{port: 80}]}')),
    /strict decoding error: unknown field "spec\.prots"|unknown field "prots"/,
  );
  assert.match(
    await apply(service('{ports: [{port: 80, nodePort: 80}], type: NodePort}')),
    /spec\.ports\[0\]\.nodePort: Invalid value: 80: provided port is not in the valid range/,
  );
  assert.match(
    await apply('{apiVersion: v1, kind: Pod, metadata: {name: Bad_Name}, spec: {containers: []}}'),
    /metadata\.name: Invalid value: "Bad_Name": a lowercase RFC 1123 subdomain.*spec\.containers: Required value/s,
  );
  assert.match(
    await apply('{apiVersion: shop/v1, kind: Till, metadata: {name: a}}'),
    /no matches for kind "Till" in version "shop\/v1"/,
  );
});

type Pod = {
  status: { containerStatuses?: { state: { waiting?: { reason: string; message?: string } } }[] };
};

test('an image that cannot run: the status and an event say why', async () => {
  const cluster = await Cluster.up('lab', '--nodes', '1');
  await cluster.kubectlOk('run', 'bad', '--image=nginx:1.27');
  const waiting = await eventually('the status says why', async () => {
    const pod = await cluster.json<Pod>('pod', 'bad');
    const found = pod.status.containerStatuses?.[0]?.state.waiting;
    return found !== undefined && /Image/.test(found.reason) ? found : undefined;
  });
  assert.match(waiting.message ?? '', /nginx:1\.27/);
  const text = await eventually('an event', async () => {
    const found = await cluster.kubectlOk('describe', 'pod', 'bad');
    return /Warning +Failed/.test(found) ? found : undefined;
  });
  assert.match(text, /Warning +Failed .*nginx:1\.27/);
  await cluster.down();
  await sameHost(hostBefore);
});

test('a full disk: the write is refused, the store stays whole and works again with room', async () => {
  mkdirSync(state, { recursive: true });
  must(await run('mount', ['-t', 'tmpfs', '-o', 'size=16m', 'tmpfs', state]), 'mount');
  const cluster = await Cluster.up('lab', '--nodes', '1');
  const text = `--from-literal=text=${'x'.repeat(50_000)}`;
  await cluster.kubectlOk('create', 'configmap', 'before', text);
  const filler = join(state, 'filler');
  await run('dd', ['if=/dev/zero', `of=${filler}`, 'bs=64k']);
  assert.ok(statSync(filler).size > 0);
  const acknowledged: string[] = [];
  const refusal = await eventually('a write is refused', async () => {
    const name = `n${acknowledged.length}`;
    const { code, stderr } = await cluster.kubectl('create', 'configmap', name, text);
    if (code !== 0) return stderr;
    acknowledged.push(name);
    return undefined;
  });
  assert.match(refusal, /Cannot store the object: the disk is full/);
  // Reads go on, and so does what runs.
  const names = async () =>
    (await cluster.json<{ items: { metadata: { name: string } }[] }>('configmaps')).items
      .map(({ metadata }) => metadata.name)
      .filter((name) => name !== 'kube-root-ca.crt')
      .toSorted();
  assert.deepEqual(await names(), ['before', ...acknowledged].toSorted());
  rmSync(filler);
  await eventually(
    'room again',
    async () => (await cluster.kubectl('create', 'configmap', 'later', text)).code === 0,
  );
  const { main } = componentPids('lab', 'server');
  process.kill(main, 'SIGKILL');
  await eventually(
    'the server is back',
    async () => (await cluster.kubectl('get', '--raw', '/readyz')).code === 0,
  );
  assert.deepEqual(await names(), ['before', ...acknowledged, 'later'].toSorted());
  await cluster.down();
  must(await run('umount', [state]), 'umount');
});
