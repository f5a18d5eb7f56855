/** mount(2) and its relatives, acting in the mount namespace of the calling thread. */
import { ERRNO, libcRaw, SystemError } from './libc.ts';

const MS_RDONLY = 1;
const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_BIND = 0x1000;
const MS_REC = 0x4000;
const MS_PRIVATE = 0x4_0000;
const MNT_DETACH = 2;
const AT_FDCWD = -100;
const AT_EMPTY_PATH = 0x1000;
const AT_RECURSIVE = 0x8000;
const MOUNT_ATTR_RDONLY = 1n;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MOVE_MOUNT_F_EMPTY_PATH = 0x04;
const MOVE_MOUNT_T_EMPTY_PATH = 0x40;

/** The same numbers on every architecture (kernel >= 5.2, 5.2 and 5.12). */
const SYS_open_tree = 428;
const SYS_move_mount = 429;
const SYS_mount_setattr = 442;

const rawMount = libcRaw('mount', 'int', [
  'const char *',
  'const char *',
  'const char *',
  'ulong',
  'const char *',
]);
const rawUmount = libcRaw('umount2', 'int', ['const char *', 'int']);
const rawPivotRoot = libcRaw('pivot_root', 'int', ['const char *', 'const char *']);
const rawOpenTree = libcRaw('syscall', 'long', ['long', 'int', 'const char *', 'uint']);
const rawMoveMount = libcRaw('syscall', 'long', [
  'long',
  'int',
  'const char *',
  'int',
  'const char *',
  'uint',
]);
const rawMountSetattr = libcRaw('syscall', 'long', [
  'long',
  'int',
  'const char *',
  'uint',
  'void *',
  'size_t',
]);

export type MountOptions = {
  readonly type: string;
  readonly target: string;
  /** File system options such as `size=1m`. */
  readonly data?: string;
  readonly readOnly?: boolean;
  readonly noDevices?: boolean;
  readonly noExecute?: boolean;
};

/** `mount -t <type> -o nosuid,… <type> <target>` */
export function mountFilesystem(options: MountOptions): void {
  const { type, target, data, readOnly, noDevices, noExecute } = options;
  const flags =
    MS_NOSUID |
    (readOnly === true ? MS_RDONLY : 0) |
    (noDevices === true ? MS_NODEV : 0) |
    (noExecute === true ? MS_NOEXEC : 0);
  const result = rawMount(type, target, type, flags, data ?? null);
  check('mount', result, `mount ${type} on "${target}"`);
}

/** `mount --bind <source> <target>` */
export function bindMount(source: string, target: string): void {
  const result = rawMount(source, target, null, MS_BIND, null);
  check('mount', result, `bind "${source}" on "${target}"`);
}

/** `mount --rbind <source> <target>` */
export function bindTree(source: string, target: string): void {
  const result = rawMount(source, target, null, MS_BIND | MS_REC, null);
  check('mount', result, `bind "${source}" with all below it on "${target}"`);
}

/** `mount --make-rprivate <target>`: no mount or unmount travels in or out. */
export function makePrivate(target: string): void {
  const result = rawMount(null, target, null, MS_PRIVATE | MS_REC, null);
  check('mount', result, `make the mounts below "${target}" private`);
}

/**
 * A copy of the mounts at and below what the descriptor names, attached nowhere yet; the caller
 * closes the result, with which the copy goes if nobody has attached it.
 */
export function cloneTree(fd: number): number {
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_EMPTY_PATH | AT_RECURSIVE;
  const tree = rawOpenTree(SYS_open_tree, fd, '', flags);
  check('open_tree', tree, 'copy a mount');
  return tree;
}

/** Puts a tree of `cloneTree` on what the other descriptor names. */
export function attachTree(tree: number, target: number): void {
  const flags = MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH;
  check('move_mount', rawMoveMount(SYS_move_mount, tree, '', target, '', flags), 'attach a mount');
}

/** `mount -o remount,bind,ro <target>`, for the whole tree when `recursive`. */
export function makeReadOnly(target: string, options: { recursive: boolean }): void {
  const flags = options.recursive ? AT_RECURSIVE : 0;
  setReadOnly(AT_FDCWD, target, flags);
}

/** As `makeReadOnly`, for a tree of `cloneTree`. */
export function makeTreeReadOnly(tree: number): void {
  setReadOnly(tree, '', AT_EMPTY_PATH | AT_RECURSIVE);
}

function setReadOnly(fd: number, path: string, flags: number): void {
  // struct mount_attr: attr_set, attr_clr, propagation, userns_fd.
  const attributes = new BigUint64Array([MOUNT_ATTR_RDONLY, 0n, 0n, 0n]);
  const size = attributes.byteLength;
  const result = rawMountSetattr(SYS_mount_setattr, fd, path, flags, attributes, size);
  check(
    'mount_setattr',
    result,
    path === '' ? 'make a mount read-only' : `make "${path}" read-only`,
  );
}

/** `umount --lazy <target>`; false when nothing is mounted there. */
export function unmount(target: string): boolean {
  const result = rawUmount(target, MNT_DETACH);
  if (result === -ERRNO.EINVAL || result === -ERRNO.ENOENT) return false;
  check('umount2', result, `unmount "${target}"`);
  return true;
}

/** `pivot_root <root> <old>` */
export function pivotRoot(root: string, old: string): void {
  check('pivot_root', rawPivotRoot(root, old), `make "${root}" the root`);
}

function check(syscall: string, result: number, tried: string): void {
  if (result < 0) throw new SystemError(syscall, -result, tried);
}
