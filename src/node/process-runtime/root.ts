/**
 * The root directory a container sees: the host's files, read-only, under directories of its own.
 *
 * It is put together on a small tmpfs in a fresh mount namespace and then made the root, so the
 * host's mounts, our pins among them, do not live on in the container.
 */
import {
  chmodSync,
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  rmdirSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import {
  bindMount,
  bindTree,
  makePrivate,
  makeReadOnly,
  mountFilesystem,
  pivotRoot,
  unmount,
} from '../../kernel/ffi/mount.ts';
import { type Mount } from '../runtime.ts';
import { closeSources, openSources } from './mount-sources.ts';
import { placeMounts } from './volumes.ts';

export type RootSpec = {
  /** An empty directory to build on. */
  readonly stagingDir: string;
  /** Directories of the host that the container sees empty. */
  readonly hidden: readonly string[];
  readonly mounts: readonly Mount[];
  readonly readOnly: boolean;
  /** The host's devices and a writable /sys. */
  readonly privileged: boolean;
};

/** Directories that are the container's own, or are put together below. */
const own = new Set(['proc', 'sys', 'dev', 'run', 'tmp', 'root', 'lost+found']);

/** Makes the root and moves the calling thread there; call it with a fresh mount namespace. */
export function enterRoot(spec: RootSpec): void {
  makePrivate('/');
  const sources = openSources(spec.mounts);
  try {
    buildRoot(spec.stagingDir, spec);
    const old = join(spec.stagingDir, '.old');
    mkdirSync(old);
    pivotRoot(spec.stagingDir, old);
    process.chdir('/');
    // Before any volume is there: a link in one of them must not find the node's files.
    unmount('/.old');
    rmdirSync('/.old');
    const hidden = hide(spec.hidden);
    placeMounts(spec.mounts, sources);
    const covered = new Set(spec.mounts.map(({ target }) => resolve(target)));
    for (const path of hidden) if (!covered.has(path)) makeReadOnly(path, { recursive: false });
  } finally {
    closeSources(sources);
  }
  if (spec.readOnly) lockRoot(spec.mounts);
}

function lockRoot(mounts: readonly Mount[]): void {
  makeReadOnly('/', { recursive: false });
  const replaced = mounts.some(({ target }) => target === '/var/tmp');
  if (existsSync('/var/tmp') && !replaced) makeReadOnly('/var/tmp', { recursive: false });
}

function buildRoot(root: string, spec: RootSpec): void {
  mountFilesystem({ type: 'tmpfs', target: root, data: 'mode=0755' });
  for (const name of readdirSync('/')) {
    if (!own.has(name)) showHostDirectory(root, name);
  }
  for (const name of ['proc', 'sys', 'dev', 'run', 'root', 'tmp']) mkdirSync(join(root, name));
  chmodSync(join(root, 'root'), 0o755);
  chmodSync(join(root, 'tmp'), 0o1777);
  mkdirSync(join(root, 'run/lock'));
  chmodSync(join(root, 'run/lock'), 0o1777);
  if (existsSync('/var/tmp')) {
    mountFilesystem({ type: 'tmpfs', target: join(root, 'var/tmp'), data: 'mode=1777' });
  }
  bindTree('/proc', join(root, 'proc'));
  buildSys(root, spec.privileged);
  buildDev(root, spec.privileged);
}

function showHostDirectory(root: string, name: string): void {
  const source = `/${name}`;
  const target = join(root, name);
  const stat = lstatSync(source);
  // Root of the container could put something else in place of a link such as /lib64, and have it
  // loaded by whatever is executed inside with more rights. A mount point stays.
  if (!isDirectory(source)) {
    if (stat.isSymbolicLink()) symlinkSync(readlinkSync(source), target);
    return;
  }
  mkdirSync(target);
  bindTree(source, target);
  makeReadOnly(target, { recursive: true });
}

/** A sysfs mounted here shows the network interfaces of the pod, not those of the node. */
function buildSys(root: string, privileged: boolean): void {
  const target = join(root, 'sys');
  try {
    mountFilesystem({
      type: 'sysfs',
      target,
      readOnly: !privileged,
      noDevices: true,
      noExecute: true,
    });
  } catch {
    // A user namespace that does not own its network namespace is refused a sysfs of its own.
    bindTree('/sys', target);
    makeReadOnly(target, { recursive: true });
    return;
  }
  const cgroups = join(target, 'fs/cgroup');
  if (!existsSync('/sys/fs/cgroup') || !existsSync(cgroups)) return;
  bindTree('/sys/fs/cgroup', cgroups);
  makeReadOnly(cgroups, { recursive: true });
}

const devices = ['null', 'zero', 'full', 'random', 'urandom', 'tty'];

function buildDev(root: string, privileged: boolean): void {
  const dev = join(root, 'dev');
  if (privileged) {
    bindTree('/dev', dev);
  } else {
    mountFilesystem({ type: 'tmpfs', target: dev, data: 'mode=0755,size=64k', noExecute: true });
    for (const name of devices) {
      writeFileSync(join(dev, name), '');
      bindMount(`/dev/${name}`, join(dev, name));
    }
    for (const name of ['pts', 'shm', 'mqueue']) mkdirSync(join(dev, name));
    symlinkSync('pts/ptmx', join(dev, 'ptmx'));
    symlinkSync('/proc/self/fd', join(dev, 'fd'));
    for (const [fd, name] of ['stdin', 'stdout', 'stderr'].entries()) {
      symlinkSync(`/proc/self/fd/${fd}`, join(dev, name));
    }
    mountTerminals(join(dev, 'pts'));
    mountFilesystem({ type: 'mqueue', target: join(dev, 'mqueue'), noDevices: true });
  }
  if (existsSync(join(dev, 'shm'))) {
    const data = 'mode=1777,size=64m';
    mountFilesystem({ type: 'tmpfs', target: join(dev, 'shm'), data, noDevices: true });
  }
}

function mountTerminals(target: string): void {
  const data = 'newinstance,ptmxmode=0666,mode=0620';
  try {
    mountFilesystem({ type: 'devpts', target, data: `${data},gid=5`, noExecute: true });
  } catch {
    // Group tty has no place in a user namespace that maps one group only.
    mountFilesystem({ type: 'devpts', target, data, noExecute: true });
  }
}

/** The directories that are there, and now empty; one below another is gone with it. */
function hide(paths: readonly string[]): string[] {
  const outermost = [...new Set(paths)].filter(
    (path) => !paths.some((other) => path.startsWith(`${other}/`)),
  );
  const hidden = outermost.filter(isDirectory);
  for (const target of hidden) {
    mountFilesystem({ type: 'tmpfs', target, data: 'size=64k,mode=0755' });
  }
  return hidden;
}

function isDirectory(path: string): boolean {
  return statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;
}
