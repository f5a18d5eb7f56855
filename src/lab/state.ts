/** A lab's configuration on disk: what `up` decided, read by every later command. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  writeFileSync,
} from 'node:fs';
import { dirname } from 'node:path';
import { UserError } from '../lib/errors.ts';
import type { LabConfig } from './config.ts';
import { configFile, labPaths, labRoots, type LabPaths, type LabRoots } from './paths.ts';

/** Names of the labs that exist, sorted. */
export function listLabs(roots: LabRoots = labRoots()): string[] {
  if (!existsSync(roots.state)) return [];
  return readdirSync(roots.state)
    .filter((name) => existsSync(configFile(labPaths(name, roots))))
    .toSorted();
}

/** The configuration of a lab; `UserError` when there is no such lab. */
export function readLab(paths: LabPaths): LabConfig {
  const file = configFile(paths);
  const name = paths.state.split('/').at(-1) ?? '';
  if (!existsSync(file)) {
    const others = listLabs();
    throw new UserError('NO_SUCH_LAB', `Cannot find lab "${name}": nothing is at ${paths.state}`, {
      hint: others.length === 0 ? 'Bring one up: fairlead up' : `These exist: ${others.join(', ')}`,
    });
  }
  let config: LabConfig;
  try {
    config = JSON.parse(readFileSync(file, 'utf8')) as LabConfig;
  } catch (cause) {
    throw new UserError('BAD_LAB', `Cannot read lab "${name}": ${file} is no JSON`, {
      cause,
      hint: `Remove what is left of it: fairlead down --name ${name}`,
    });
  }
  if (config.version !== 1) {
    throw new UserError(
      'BAD_LAB',
      `Cannot read lab "${name}": ${file} has version ${String(config.version)}, this program knows version 1`,
    );
  }
  return config;
}

/** What can be read of a lab to be removed, whatever version wrote it; undefined when nothing can. */
export function readLabLoosely(paths: LabPaths): LabConfig | undefined {
  try {
    const config = JSON.parse(readFileSync(configFile(paths), 'utf8')) as Partial<LabConfig>;
    const whole = typeof config.hostLink === 'string' && Array.isArray(config.nodes);
    return whole ? (config as LabConfig) : undefined;
  } catch (error) {
    if (error instanceof SyntaxError) return undefined;
    throw error;
  }
}

export function writeLab(paths: LabPaths, config: LabConfig): void {
  writePrivate(configFile(paths), `${JSON.stringify(config, null, 2)}\n`);
}

/** Writes a file only we may read, whole or not at all. */
export function writePrivate(file: string, text: string): void {
  mkdirSync(dirname(file), { recursive: true, mode: 0o700 });
  writeFileSync(`${file}.new`, text, { mode: 0o600 });
  renameSync(`${file}.new`, file);
}
