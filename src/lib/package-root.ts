/** Where this program's own files lie, whether it runs from its sources or as one bundle. */
import { existsSync } from 'node:fs';
import { dirname, join } from 'node:path';

/** A path below the directory of our package.json. */
export function packageFile(...parts: string[]): string {
  root ??= findRoot(import.meta.dirname);
  return join(root, ...parts);
}

let root: string | undefined;

function findRoot(start: string): string {
  for (let dir = start; dir !== '/'; dir = dirname(dir)) {
    if (existsSync(join(dir, 'package.json'))) return dir;
  }
  throw new Error(`no package.json above ${start}`);
}
