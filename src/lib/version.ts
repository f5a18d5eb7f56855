import { readFileSync } from 'node:fs';
import { packageFile } from './package-root.ts';

/** The version of package.json. */
export const version = (
  JSON.parse(readFileSync(packageFile('package.json'), 'utf8')) as {
    version: string;
  }
).version;
