/**
 * The C library through FFI: the only way this program reaches system calls that Node lacks.
 *
 * A call runs on the calling thread, so what `setns` and `unshare` did to that thread counts.
 */
import { WorldError } from '../../lib/errors.ts';
import koffi, { type LibraryHandle } from 'koffi';

/** What may be handed to C: numbers, pointers to bytes, text (copied with a NUL), or NULL. */
export type LibcArgument = number | bigint | string | ArrayBufferView | null;

/** Parameter and result types, in koffi's spelling. */
export type LibcType =
  | 'int'
  | 'uint'
  | 'long'
  | 'ulong'
  | 'size_t'
  | 'ssize_t'
  | 'uint64_t'
  | 'void *'
  | 'const char *';

/** A C function; the result is a number, or a thrown `SystemError`. */
export type LibcFunction = (...args: LibcArgument[]) => number;

/** A system call failed: `errno` as number, `errnoName` such as `EPERM`, and the call's name. */
export class SystemError extends WorldError {
  override name = 'SystemError';
  readonly errno: number;
  readonly errnoName: string;
  readonly syscall: string;

  constructor(syscall: string, errno: number, tried?: string) {
    const errnoName = nameOfErrno(errno);
    const what = tried ?? `call ${syscall}`;
    super('SYSTEM', `Cannot ${what}: ${syscall} answered ${errnoName}, "${errnoText(errno)}"`);
    this.errno = errno;
    this.errnoName = errnoName;
    this.syscall = syscall;
  }
}

/**
 * A libc function that throws `SystemError` when it returns -1.
 * The symbol is looked up at the first call, so a declaration costs nothing at start.
 */
export function libc(name: string, result: LibcType, parameters: LibcType[]): LibcFunction {
  const call = libcRaw(name, result, parameters);
  return (...args) => {
    const value = call(...args);
    if (value < 0) throw new SystemError(name, -value);
    return value;
  };
}

/** As `libc`, but a failure comes back as the negative errno, as the kernel itself says it. */
export function libcRaw(name: string, result: LibcType, parameters: LibcType[]): LibcFunction {
  let bound: LibcFunction | undefined;
  return (...args) => {
    const call: LibcFunction = (bound ??= library().func(
      name,
      koffiType(result),
      parameters.map(koffiType),
    ));
    const value = call(...args);
    return value === -1 ? -koffi.errno() : value;
  };
}

/** Calls back on the event loop whenever the descriptor is readable, until the result is called. */
export function onReadable(fd: number, callback: () => void): () => void {
  let open = true;
  // koffi calls back outside of any callback scope of Node: promises would not go on after it.
  // An immediate is run in the same turn of the loop, and in a scope.
  const handle = koffi.node.poll(fd, { readable: true }, () => {
    setImmediate(() => {
      if (open) callback();
    });
  });
  return () => {
    open = false;
    handle.close();
  };
}

/**
 * As `onReadable`, but at once, before anything else of this turn of the loop: promises settled in
 * the callback go on only later.
 */
export function onReadableAtOnce(fd: number, callback: () => void): () => void {
  const handle = koffi.node.poll(fd, { readable: true }, callback);
  return () => handle.close();
}

/** The name of an error number, such as `ENOENT`; `errno 999` for one nobody knows. */
export function nameOfErrno(errno: number): string {
  names ??= new Map(
    [koffi.os.errno, ERRNO, MORE_NAMES].flatMap((table) =>
      Object.entries(table).map(([name, value]) => [value, name] as const),
    ),
  );
  return names.get(errno) ?? `errno ${errno}`;
}

/** Error numbers this program tells apart (include/uapi/asm-generic/errno-base.h, errno.h). */
export const ERRNO = {
  EPERM: 1,
  ENOENT: 2,
  ESRCH: 3,
  EINTR: 4,
  EIO: 5,
  ENXIO: 6,
  E2BIG: 7,
  EBADF: 9,
  ECHILD: 10,
  EAGAIN: 11,
  ENOMEM: 12,
  EACCES: 13,
  EBUSY: 16,
  EEXIST: 17,
  ENODEV: 19,
  ENOTDIR: 20,
  EINVAL: 22,
  ENFILE: 23,
  EMFILE: 24,
  ENOSPC: 28,
  ERANGE: 34,
  ENOSYS: 38,
  EMSGSIZE: 90,
  EOPNOTSUPP: 95,
  EAFNOSUPPORT: 97,
  EADDRINUSE: 98,
  EADDRNOTAVAIL: 99,
  ENETDOWN: 100,
  ENETUNREACH: 101,
  ENOBUFS: 105,
  ENOTCONN: 107,
  ETIMEDOUT: 110,
  ECONNREFUSED: 111,
  EHOSTUNREACH: 113,
} as const;

/** Numbers that libuv, and so koffi, has no name for. */
const MORE_NAMES = {
  ENOEXEC: 8,
  ENOTBLK: 15,
  ENOMSG: 42,
  EIDRM: 43,
  ENOSTR: 60,
  ENODATA: 61,
  ETIME: 62,
  ENONET: 64,
  EREMOTE: 66,
  EPROTO: 71,
  EBADMSG: 74,
  EOVERFLOW: 75,
  ERESTART: 85,
  EUSERS: 87,
  EPROTONOSUPPORT: 93,
  ESOCKTNOSUPPORT: 94,
  EPFNOSUPPORT: 96,
  ESTALE: 116,
  EDQUOT: 122,
};

let handle: LibraryHandle | undefined;
let names: Map<number, string> | undefined;
let strerror: ((errno: number) => string) | undefined;

/** The program itself: whatever C library Node runs on is already loaded (glibc or musl). */
function library(): LibraryHandle {
  handle ??= koffi.load(null);
  return handle;
}

function errnoText(errno: number): string {
  strerror ??= library().func('strerror', 'const char *', ['int']) as (errno: number) => string;
  return strerror(errno);
}

/** koffi has no `ssize_t`; both are as wide as `long` on every Linux. */
function koffiType(type: LibcType): string {
  return type === 'ssize_t' ? 'long' : type;
}
