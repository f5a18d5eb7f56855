/**
 * A directory whose files change all at once, as a kubelet lays it out: each file is a link into
 * `..data`, which is a link to a directory that never changes. A reader sees old or new, no mix.
 */
import {
  chmodSync,
  chownSync,
  lstatSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  renameSync,
  rmSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';

export type PayloadFile = { readonly bytes: Uint8Array; readonly mode: number };
/** By path below the volume. */
export type Payload = ReadonlyMap<string, PayloadFile>;

/** Makes the directory hold exactly these files; says whether anything had to change. */
export function writeAtomicDirectory(dir: string, payload: Payload, group?: number): boolean {
  mkdirSync(dir, { recursive: true, mode: 0o755 });
  const before = currentTarget(dir);
  if (before !== undefined && holdsExactly(join(dir, before), payload)) return false;
  const stamp = new Date().toISOString().replaceAll(/[-:T]/g, '_').replace(/\..*/, '.');
  const made = mkdtempSync(join(dir, `..${stamp}`));
  chmodSync(made, 0o755);
  for (const [path, { bytes, mode }] of payload) {
    writePayloadFile(join(made, path), bytes, mode, group);
  }
  if (group !== undefined) chownSync(made, 0, group);
  const temporary = join(dir, '..data_tmp');
  rmSync(temporary, { force: true });
  symlinkSync(made.slice(dir.length + 1), temporary);
  renameSync(temporary, join(dir, '..data'));
  linkNames(dir, payload);
  if (before !== undefined) rmSync(join(dir, before), { recursive: true, force: true });
  return true;
}

function writePayloadFile(path: string, bytes: Uint8Array, mode: number, group?: number): void {
  mkdirSync(dirname(path), { recursive: true, mode: 0o755 });
  writeFileSync(path, bytes);
  if (group !== undefined) chownSync(path, 0, group);
  // writeFileSync's mode passes through the umask; this one does not.
  chmodSync(path, group === undefined ? mode : mode | 0o440);
}

function currentTarget(dir: string): string | undefined {
  try {
    return readlinkSync(join(dir, '..data'));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}

function holdsExactly(dir: string, payload: Payload): boolean {
  const present = lstatSync(dir, { throwIfNoEntry: false })?.isDirectory()
    ? readdirSync(dir, { recursive: true, withFileTypes: true }).filter((e) => e.isFile())
    : [];
  if (present.length !== payload.size) return false;
  return present.every((entry) => {
    const path = join(entry.parentPath, entry.name);
    const wanted = payload.get(path.slice(dir.length + 1));
    return wanted !== undefined && readFileSync(path).equals(wanted.bytes);
  });
}

/** Visible names: one link per first path part, and none for what is gone. */
function linkNames(dir: string, payload: Payload): void {
  const wanted = new Set([...payload.keys()].map((path) => path.split('/')[0] ?? ''));
  for (const name of readdirSync(dir)) {
    if (name.startsWith('..')) continue;
    if (!wanted.delete(name)) rmSync(join(dir, name), { force: true });
  }
  for (const name of wanted) symlinkSync(join('..data', name), join(dir, name));
}
