/**
 * Kernel settings: `sysctl`. `/proc/sys/net` is that of the network namespace of the calling
 * thread, so only synchronous calls are right in a thread that entered another one.
 */
import { readFileSync, writeFileSync } from 'node:fs';

/** `sysctl <name>`; with slashes in place of dots when a link's name has a dot. */
export function readSysctl(name: string): string {
  return readFileSync(pathOf(name), 'utf8').trimEnd();
}

/** `sysctl -w <name>=<value>` */
export function writeSysctl(name: string, value: string | number): void {
  writeFileSync(pathOf(name), String(value));
}

function pathOf(name: string): string {
  const path = name.includes('/') ? name : name.replaceAll('.', '/');
  if (!/^[a-zA-Z0-9_.@:/-]+$/.test(path) || path.split('/').includes('..')) {
    throw new RangeError(`"${name}" is not the name of a kernel setting`);
  }
  return `/proc/sys/${path}`;
}
