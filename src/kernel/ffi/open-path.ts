/** Paths that are opened only if they lead where they seem to: openat2(2), kernel >= 5.6. */
import { closeSync, constants, openSync } from 'node:fs';
import { libcRaw, SystemError } from './libc.ts';

/** The same number on every architecture. */
const SYS_openat2 = 437;
const O_PATH = 0x20_0000;
const O_CLOEXEC = 0x8_0000;
/** include/uapi/linux/openat2.h */
const RESOLVE_NO_MAGICLINKS = 0x02;
const RESOLVE_NO_SYMLINKS = 0x04;
const RESOLVE_BENEATH = 0x08;

const rawOpenat2 = libcRaw('syscall', 'long', ['long', 'int', 'const char *', 'void *', 'size_t']);

/** A descriptor that names a file and can do nothing else (`O_PATH`); the caller closes it. */
export function openPath(path: string): number {
  return openSync(path, O_PATH);
}

/** As `openPath`, for a path below a directory; links may not lead out of it. */
export function openBeneath(directory: number, path: string): number {
  return open(directory, path, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS);
}

/** As `openPath`, for an absolute path without any link in it. */
export function openExact(path: string): number {
  const root = openSync('/', constants.O_RDONLY);
  try {
    return open(root, path, RESOLVE_NO_SYMLINKS);
  } finally {
    closeSync(root);
  }
}

function open(directory: number, path: string, resolve: number): number {
  // struct open_how: flags, mode, resolve.
  const how = new BigUint64Array([BigInt(O_PATH | O_CLOEXEC), 0n, BigInt(resolve)]);
  const fd = rawOpenat2(SYS_openat2, directory, path, how, how.byteLength);
  if (fd < 0) throw new SystemError('openat2', -fd, `open "${path}"`);
  return fd;
}
