/** Gives a part of a file back to the file system while others go on appending to it. */
import { closeSync, openSync } from 'node:fs';
import { libcRaw } from './libc.ts';

/** include/uapi/linux/falloc.h */
const FALLOC_FL_KEEP_SIZE = 0x01;
const FALLOC_FL_PUNCH_HOLE = 0x02;

const fallocate = libcRaw('fallocate', 'int', ['int', 'int', 'long', 'long']);

/** `fallocate --punch-hole`; false where the file system cannot, and the bytes stay. */
export function punchHole(
  path: string,
  range: { readonly offset: number; readonly length: number },
): boolean {
  const fd = openSync(path, 'r+');
  try {
    const mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    return fallocate(fd, mode, range.offset, range.length) >= 0;
  } finally {
    closeSync(fd);
  }
}
