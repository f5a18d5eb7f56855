/** Files by a pattern with `*`, `?` and `[…]` in its last part, as shells order them. */
import { existsSync, readdirSync } from 'node:fs';
import { basename, dirname, join, matchesGlob } from 'node:path';

/** A name without a pattern stands for itself; hidden files and directories of ConfigMaps are left out. */
export function globFiles(path: string): string[] {
  if (!/[*?[\]]/.test(basename(path))) return existsSync(path) ? [path] : [];
  const folder = dirname(path);
  if (!existsSync(folder)) return [];
  return readdirSync(folder, { withFileTypes: true })
    .filter((entry) => !entry.isDirectory() && !entry.name.startsWith('.'))
    .filter((entry) => matchesGlob(entry.name, basename(path)))
    .map((entry) => join(folder, entry.name))
    .toSorted();
}
