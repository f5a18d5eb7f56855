/** System calls that move the calling thread between namespaces, name its host, watch a process. */
import { ERRNO, libcRaw, SystemError } from './libc.ts';

/** include/uapi/linux/sched.h */
export const CLONE = {
  CLONE_FS: 0x0000_0200,
  CLONE_NEWNS: 0x0002_0000,
  CLONE_NEWUTS: 0x0400_0000,
  CLONE_NEWIPC: 0x0800_0000,
  CLONE_NEWPID: 0x2000_0000,
  CLONE_NEWNET: 0x4000_0000,
} as const;

const rawSetns = libcRaw('setns', 'int', ['int', 'int']);
const rawUnshare = libcRaw('unshare', 'int', ['int']);
const rawSethostname = libcRaw('sethostname', 'int', ['const char *', 'size_t']);
const rawPidfdOpen = libcRaw('syscall', 'long', ['long', 'int', 'uint']);

const rawPipe2 = libcRaw('pipe2', 'int', ['void *', 'int']);

const O_CLOEXEC = 0o2000000;
/** The same number on every architecture since the common table (kernel >= 5.3). */
const SYS_pidfd_open = 434;

/** Moves this thread into the namespace behind the descriptor. */
export function setns(fd: number, kind: number): void {
  check('setns', rawSetns(fd, kind), 'enter a namespace');
}

/** Gives this thread namespaces of its own; `flags` are `CLONE` bits. */
export function unshare(flags: number): void {
  check('unshare', rawUnshare(flags), 'make namespaces');
}

/** `hostname <name>`, in the UTS namespace of this thread. */
export function setHostname(name: string): void {
  const length = Buffer.byteLength(name);
  check('sethostname', rawSethostname(name, length), `set the host name "${name}"`);
}

/** A descriptor that becomes readable when the process ends; undefined when it is gone already. */
export function openPidfd(pid: number): number | undefined {
  const fd = rawPidfdOpen(SYS_pidfd_open, pid, 0);
  if (fd === -ERRNO.ESRCH) return undefined;
  check('pidfd_open', fd, `watch process ${pid}`);
  return fd;
}

/** Both ends of a pipe, closed in programs that this process starts unless handed on. */
export function openPipe(): { readonly read: number; readonly write: number } {
  const ends = new Int32Array(2);
  check('pipe2', rawPipe2(ends, O_CLOEXEC), 'open a pipe');
  return { read: ends[0]!, write: ends[1]! };
}

function check(syscall: string, result: number, tried: string): void {
  if (result < 0) throw new SystemError(syscall, -result, tried);
}
