/** Volumes as files on the node. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Pod, Volume } from '../../api/types.ts';
import { writeAtomicDirectory } from './atomic-directory.ts';
import { prepareVolumes, volumeMounts } from './volumes.ts';

const root = mkdtempSync(join(tmpdir(), 'fairlead-volumes-'));
after(() => rmSync(root, { recursive: true, force: true }));
let serial = 0;

const file = (text: string, mode = 0o644) => ({ bytes: Buffer.from(text), mode });

test('[K13] files change all at once: the visible name stays, ..data moves', () => {
  const dir = join(root, 'atomic');
  assert.equal(
    writeAtomicDirectory(
      dir,
      new Map([
        ['a', file('1')],
        ['sub/b', file('2', 0o400)],
      ]),
    ),
    true,
  );
  const first = readlinkSync(join(dir, '..data'));
  assert.equal(readlinkSync(join(dir, 'a')), '..data/a');
  assert.equal(readFileSync(join(dir, 'sub/b'), 'utf8'), '2');
  assert.equal(statSync(join(dir, 'sub/b')).mode & 0o777, 0o400);
  assert.equal(
    writeAtomicDirectory(
      dir,
      new Map([
        ['a', file('1')],
        ['sub/b', file('2')],
      ]),
    ),
    false,
  );
  assert.equal(readlinkSync(join(dir, '..data')), first);
  writeAtomicDirectory(
    dir,
    new Map([
      ['a', file('new')],
      ['c', file('3')],
    ]),
  );
  assert.notEqual(readlinkSync(join(dir, '..data')), first);
  assert.equal(readFileSync(join(dir, 'a'), 'utf8'), 'new');
  assert.deepEqual(
    readdirSync(dir)
      .filter((name) => !name.startsWith('..'))
      .toSorted(),
    ['a', 'c'],
  );
  assert.equal(existsSync(join(dir, first)), false);
});

async function prepare(volume: Volume) {
  serial += 1;
  const dirs = { memory: join(root, `m${serial}`), disk: join(root, `d${serial}`) };
  const pod: Pod = {
    metadata: { name: 'p', namespace: 'shop', uid: 'u', labels: { app: 'x', tier: 'y' } },
    spec: { containers: [{ name: 'c', resources: { limits: { cpu: '2' } } }], volumes: [volume] },
  };
  await prepareVolumes(dirs, {
    pod,
    facts: { nodeName: 'n', hostIPs: [], podIPs: ['10.0.0.1'], allocatable: {} },
    token: async ({ audience }) => `token for ${audience ?? 'the API'}`,
    source: {
      configMap: async (name) =>
        name === 'cfg'
          ? { metadata: { name }, data: { a: '1', b: '2' }, binaryData: { bin: 'AAH/' } }
          : undefined,
      secret: async (name) =>
        name === 'sec' ? { metadata: { name }, data: { k: btoa('v') } } : undefined,
    },
  });
  const container = { name: 'c', volumeMounts: [{ name: volume.name, mountPath: '/v' }] };
  const [mount] = volumeMounts(pod, container, dirs);
  return mount!.source;
}

function filesIn(dir: string): Record<string, string> {
  const names = readdirSync(dir).filter((name) => !name.startsWith('..'));
  return Object.fromEntries(names.map((name) => [name, readFileSync(join(dir, name), 'latin1')]));
}

for (const [title, volume, expected] of [
  ['configMap', { configMap: { name: 'cfg' } }, { a: '1', b: '2', bin: '\0\x01\xff' }],
  ['chosen keys', { configMap: { name: 'cfg', items: [{ key: 'a', path: 'x' }] } }, { x: '1' }],
  ['optional and missing', { configMap: { name: 'no', optional: true } }, {}],
  ['secret', { secret: { secretName: 'sec' } }, { k: 'v' }],
  [
    'downwardAPI',
    {
      downwardAPI: {
        items: [
          { path: 'labels', fieldRef: { fieldPath: 'metadata.labels' } },
          { path: 'cpu', resourceFieldRef: { containerName: 'c', resource: 'limits.cpu' } },
        ],
      },
    },
    { labels: 'app="x"\ntier="y"', cpu: '2' },
  ],
  [
    'the service-account mount',
    {
      projected: {
        sources: [
          { serviceAccountToken: { path: 'token', expirationSeconds: 3607 } },
          { configMap: { name: 'cfg', items: [{ key: 'a', path: 'ca.crt' }] } },
          {
            downwardAPI: {
              items: [{ path: 'namespace', fieldRef: { fieldPath: 'metadata.namespace' } }],
            },
          },
        ],
      },
    },
    { token: 'token for the API', 'ca.crt': '1', namespace: 'shop' },
  ],
  ['emptyDir', { emptyDir: {} }, {}],
  ['emptyDir in memory', { emptyDir: { medium: 'Memory' } }, {}],
] as const) {
  test(`[K13] ${title}`, async () => {
    const dir = await prepare({ ...(volume as unknown as Volume), name: 'v' });
    assert.deepEqual(filesIn(dir), expected);
  });
}

test('[K13] anyone in the pod may write into an emptyDir', async () => {
  assert.equal(statSync(await prepare({ name: 'v', emptyDir: {} })).mode & 0o7777, 0o777);
});

for (const [title, volume, message] of [
  ['a missing ConfigMap', { configMap: { name: 'no' } }, /volume "v" : configmap "no" not found/],
  ['a missing Secret', { secret: { secretName: 'no' } }, /volume "v" : secret "no" not found/],
  [
    'a missing key',
    { configMap: { name: 'cfg', items: [{ key: 'z', path: 'z' }] } },
    /non-existent config key: z/,
  ],
  [
    'a path out of the volume',
    { configMap: { name: 'cfg', items: [{ key: 'a', path: '../z' }] } },
    /leaves the volume/,
  ],
  ['an unknown type', { nfs: { server: 's' } }, /volume type "nfs" is not known here/],
  [
    'a hostPath that is no directory',
    { hostPath: { path: '/dev/null', type: 'Directory' } },
    /\/dev\/null is not a directory/,
  ],
] as const) {
  test(`[K13] ${title} is named`, async () => {
    await assert.rejects(prepare({ ...(volume as unknown as Volume), name: 'v' }), message);
  });
}

test('[K13] hostPath is the path itself; DirectoryOrCreate makes it', async () => {
  const path = join(root, 'made', 'here');
  assert.equal(await prepare({ name: 'v', hostPath: { path, type: 'DirectoryOrCreate' } }), path);
  assert.ok(statSync(path).isDirectory());
  const plain = join(root, 'plain');
  writeFileSync(plain, '');
  assert.equal(await prepare({ name: 'v', hostPath: { path: plain, type: 'File' } }), plain);
});
