/** Pseudo-terminals, for commands that want a terminal. */
import { closeSync, constants, openSync } from 'node:fs';
import { libcRaw, SystemError } from './libc.ts';

/** include/uapi/asm-generic/ioctls.h; the same on x86, arm and riscv. */
const TIOCSWINSZ = 0x5414;
const TIOCGPTPEER = 0x5441;
const TIOCSPTLCK = 0x4004_5431;
/** A terminal that leaks into another program never hangs up. */
const O_CLOEXEC = 0o2000000;

const ioctlPointer = libcRaw('ioctl', 'int', ['int', 'ulong', 'void *']);
const ioctlNumber = libcRaw('ioctl', 'int', ['int', 'ulong', 'int']);

/** Both ends of a new pseudo-terminal; the caller closes them. */
export type Pty = { readonly master: number; readonly slave: number };

/** Opens a pseudo-terminal of the devpts that the calling thread sees. */
export function openPty(): Pty {
  const { O_RDWR, O_NOCTTY, O_NOFOLLOW } = constants;
  // Not /dev/ptmx, a link that root of a container can put something else in place of.
  const master = openSync('/dev/pts/ptmx', O_RDWR | O_NOCTTY | O_NOFOLLOW);
  try {
    check(ioctlPointer(master, TIOCSPTLCK, new Int32Array([0])), 'unlock a terminal');
    // TIOCGPTPEER (kernel >= 4.13) needs no path, so it works across mount namespaces.
    const slave = ioctlNumber(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    check(slave, 'open the other end of a terminal');
    return { master, slave };
  } catch (error) {
    closeSync(master);
    throw error;
  }
}

/** Tells the program on the terminal how large its window is; either end will do. */
export function resizePty(end: number, size: { columns: number; rows: number }): void {
  const window = new Uint16Array([size.rows, size.columns, 0, 0]);
  check(ioctlPointer(end, TIOCSWINSZ, window), 'resize a terminal');
}

function check(result: number, tried: string): void {
  if (result < 0) throw new SystemError('ioctl', -result, tried);
}
