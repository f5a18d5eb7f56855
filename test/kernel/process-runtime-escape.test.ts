/** What a container must not reach: the product's keys, sockets and files, and the node's rights. */
import assert from 'node:assert/strict';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { enableCompileCache } from 'node:module';
import { join } from 'node:path';
import { after, describe, test } from 'node:test';
import { createProcessRuntime } from '../../src/node/process-runtime/runtime.ts';
import {
  container,
  eventually,
  makeNode,
  makeWorld,
  runInside,
  runToEnd,
  sandbox,
  shell,
} from './process-runtime-world.ts';

makeNode();
// Not below /tmp, which every container has one of its own of.
const world = makeWorld(mkdtempSync('/srv/fl-'));
const volumes = join(world.directory, 'volumes');
const state = join(world.directory, 'state');
mkdirSync(state);
writeFileSync(join(state, 'ca.key'), 'secret', { mode: 0o600 });

const runtime = createProcessRuntime({ ...world.options, hidden: [state] });
await runtime.createSandbox(sandbox('a', 2));

after(async () => {
  await runtime.removeSandbox('a');
  runtime[Symbol.dispose]();
  world.runtime[Symbol.dispose]();
  world.clean();
});

const root = { user: 0, group: 0 } as const;
let count = 0;

/** A container of a name of its own. */
function fresh(script: string, changes: Parameters<typeof container>[2] = {}) {
  count += 1;
  return container('a', script, { name: `c${count}`, ...changes });
}

/** A volume of its own, as an emptyDir lies on the node. */
function volume(): string {
  count += 1;
  const path = join(volumes, String(count));
  mkdirSync(path, { recursive: true, mode: 0o777 });
  return path;
}

describe('files of the product', () => {
  test('root without rights sees neither keys nor sockets nor records', async () => {
    const places = [state, join(world.directory, 'run'), join(world.directory, 'logs')];
    const script = `for d in ${places.join(' ')}; do find $d -mindepth 1; done; touch ${state}/x`;
    const { output, errors } = await runToEnd(runtime, fresh(script, root));
    assert.equal(output, '');
    assert.match(errors, /touch: /);
  });

  test('a directory may be hidden with others that lie in it', async () => {
    using all = createProcessRuntime({ ...world.options, hidden: [world.directory, state] });
    const spec = fresh(`find ${world.directory} -mindepth 1; touch ${world.directory}/x`, root);
    const { output, errors } = await runToEnd(all, spec);
    assert.equal(output, '');
    assert.match(errors, /touch: /);
  });

  test('the image fairlead/dns has no file of the product to write to', async () => {
    const cache = mkdtempSync('/srv/fl-cache-');
    enableCompileCache(cache);
    const writable = `awk '$5 ~ "^(${cache}|${world.directory})" && $6 ~ "^rw"' /proc/self/mountinfo`;
    const spec = fresh(`${writable}; env`, { image: 'fairlead/dns' });
    const { output } = await runToEnd(runtime, spec);
    shell(`rm -rf ${cache}`);
    assert.doesNotMatch(output, /\/srv\//);
    assert.doesNotMatch(output, /NODE_COMPILE_CACHE/);
  });
});

describe('the files that start a container with the rights of root', () => {
  for (const path of ['/bin', '/sbin', '/lib', '/lib64', '/usr/bin/setpriv', '/etc/ld.so.cache']) {
    test(`root without rights cannot replace ${path}`, async () => {
      const { output } = await runToEnd(runtime, fresh(`mv ${path} /old && echo moved`, root));
      assert.equal(output, '');
    });
  }

  test('a directory made for a mount point is no place to write to', async () => {
    const mounts = [{ source: volume(), target: '/etc/fl-none/x', readOnly: false }];
    const script = 'touch /etc/fl-none/x/in && touch /etc/ld.so.preload && echo written';
    const { output, errors } = await runToEnd(runtime, fresh(script, { ...root, mounts }));
    assert.equal(output, '');
    assert.match(errors, /ld\.so\.preload.*Read-only/);
  });

  const file = join(world.directory, 'file');
  writeFileSync(file, '');
  const targets = [
    { target: '/', directory: true, refused: true },
    { target: '/usr', directory: true, refused: true },
    { target: '/usr/bin', directory: true, refused: true },
    { target: '/bin', directory: true, refused: true },
    { target: '/sbin/', directory: true, refused: true },
    { target: '/lib64', directory: true, refused: true },
    { target: '/usr/lib', directory: true, refused: true },
    { target: '/etc', directory: true, refused: true },
    { target: '/usr/../usr/bin/setpriv', directory: false, refused: true },
    { target: '/sbin/mount.proc', directory: false, refused: true },
    { target: '/etc/ld.so.preload', directory: false, refused: true },
    { target: '/lib64/ld-linux-x86-64.so.2', directory: false, refused: true },
    {
      target: shell('realpath $(ldd /bin/sh | grep -o "/.*libc.so.6")'),
      directory: false,
      refused: true,
    },
    { target: '/usr/share/fl-none', directory: true, refused: false },
    { target: '/usr/lib/fl-none/data', directory: true, refused: false },
    { target: '/usr/local/bin/fl-none', directory: false, refused: false },
    { target: '/etc/fl-none.conf', directory: false, refused: false },
    { target: '/proc/1/x', directory: false, refused: true },
  ];

  for (const { target, directory, refused } of targets) {
    test(`a volume at ${target} is ${refused ? 'refused' : 'fine'}`, async () => {
      const mounts = [{ source: directory ? volume() : file, target, readOnly: true }];
      const spec = fresh(`test -e ${target} && echo there`, { mounts });
      if (refused) {
        await assert.rejects(runtime.start(spec), /Cannot mount a volume at "/);
        assert.equal(runtime.state(spec.id), undefined);
      } else {
        assert.equal((await runToEnd(runtime, spec)).output, 'there\n');
      }
    });
  }

  const asked = [{ add: [] }, { add: ['SYS_PTRACE'] }];
  for (const { add } of asked) {
    test(`[K14] no process of a container has other rights than it, with "${add.join()}"`, async () => {
      const rights = 'grep -h -E "^(Uid|CapEff|CapBnd)" /proc/[0-9]*/status | sort -u';
      const changes = { user: 1234, capabilities: { add, drop: [] } };
      const { output } = await runToEnd(runtime, fresh(`sleep .1; ${rights}`, changes));
      assert.match(output, /^CapBnd:.*\nCapEff:.*\nUid:.*\n$/);
    });
  }

  test('root cannot hand the agent a terminal of its own', async () => {
    const spec = fresh('ln -sfn /etc/passwd /dev/ptmx && echo ready && sleep 100', root);
    await runtime.start(spec);
    const { stdout } = runtime.rawLogs(spec.id);
    await eventually('it is ready', () => readFileSync(stdout, 'utf8') === 'ready\n');
    const session = await runtime.exec(spec.id, { command: ['tty'], tty: true, stdin: false });
    session.stdout.resume();
    assert.equal(await session.exit, 0);
    await runtime.signal(spec.id, 'SIGKILL');
  });

  test('[K14] a placeholder has no rights that a command beside it could take over', async () => {
    const spec = fresh('', { image: 'fairlead/echo', command: [] });
    await runtime.start(spec);
    const rights = 'grep -h -E "^(Uid|CapEff)" /proc/1/status';
    const { stdout } = await runInside(runtime, spec.id, rights);
    assert.match(stdout, /Uid:\t65534/);
    assert.match(stdout, /CapEff:\t0000000000000000/);
    await runtime.signal(spec.id, 'SIGKILL');
  });
});

describe('links in a volume', () => {
  test('a mount point behind a link does not land on the node', async () => {
    const outside = join(world.directory, 'outside');
    mkdirSync(outside);
    const data = volume();
    symlinkSync(`/.old${outside}`, join(data, 'out'));
    const mounts = [
      { source: data, target: '/data', readOnly: false },
      { source: volume(), target: '/data/out/evil', readOnly: false },
    ];
    await runToEnd(runtime, fresh('true', { mounts })).catch(() => undefined);
    assert.equal(existsSync(join(outside, 'evil')), false);
  });

  const subPaths = [
    { name: 'an absolute link', link: '/etc', subPath: 'link', refused: true },
    { name: 'a link that climbs', link: '../../../../etc', subPath: 'link', refused: true },
    { name: 'a link on the way', link: '/', subPath: 'link/etc', refused: true },
    { name: 'a link to nowhere', link: '/srv/fl-nowhere', subPath: 'link', refused: true },
    { name: 'a new directory behind a link', link: '/srv', subPath: 'link/fl-new', refused: true },
    { name: 'a link within', link: 'own/file', subPath: 'link', refused: false },
    { name: 'a new directory', link: 'own', subPath: 'new/deep', refused: false },
  ];

  for (const { name, link, subPath, refused } of subPaths) {
    test(`a subPath through ${name} is ${refused ? 'refused' : 'fine'}`, async () => {
      const source = volume();
      mkdirSync(join(source, 'own'));
      writeFileSync(join(source, 'own/file'), 'mine\n');
      symlinkSync(link, join(source, 'link'));
      const mounts = [{ source, subPath, target: '/data', readOnly: false }];
      const spec = fresh('cat /data 2>/dev/null; touch /data/x 2>/dev/null && echo writes', {
        mounts,
      });
      if (refused) await assert.rejects(runtime.start(spec), /Cannot mount subPath "/);
      else assert.match((await runToEnd(runtime, spec)).output, /mine|writes/);
      assert.equal(existsSync('/srv/fl-new') || existsSync('/srv/fl-nowhere'), false);
    });
  }
});
