/**
 * What each folder may import, with the reason. Run by `npm run check`; prints how many files it read,
 * so that a check that sees nothing cannot look green.
 */
import { globSync, readFileSync } from 'node:fs';
import { dirname, join, normalize } from 'node:path';

type Rule = { readonly imports: readonly string[]; readonly because: string };

const rules: Record<string, Rule> = {
  lib: { imports: [], because: 'it has no domain; everything else stands on it' },
  kernel: { imports: ['lib'], because: 'it knows Linux and nothing of Kubernetes' },
  api: { imports: ['lib'], because: 'the kinds are plain data' },
  store: { imports: ['lib', 'api'], because: 'it keeps objects and knows no protocol' },
  client: { imports: ['lib', 'api'], because: 'it talks to any API server, not only ours' },
  apiserver: {
    imports: ['lib', 'api', 'store', 'client'],
    because: 'from client it takes only the type it realises in process',
  },
  controllers: { imports: ['lib', 'api', 'client'], because: 'they run against any API server' },
  node: {
    imports: ['lib', 'api', 'client', 'kernel'],
    because: 'it runs pods and leaves Services to the proxy',
  },
  plan: { imports: ['lib', 'api'], because: 'it is pure: objects in, plan out' },
  proxy: {
    imports: ['lib', 'api', 'client', 'plan', 'kernel'],
    because: 'it realises the plan on the kernel',
  },
  dns: { imports: ['lib', 'api', 'client', 'kernel'], because: 'it answers from the watch' },
  balancer: {
    imports: ['lib', 'api', 'client', 'plan', 'proxy', 'kernel'],
    because: 'to balance over nodes is to serve Services whose endpoints are node ports',
  },
  lab: {
    imports: [
      'lib',
      'kernel',
      'api',
      'store',
      'client',
      'apiserver',
      'controllers',
      'node',
      'plan',
      'proxy',
      'dns',
      'balancer',
    ],
    because: 'it brings everything up; the command line stands on it',
  },
  cli: {
    imports: [
      'lib',
      'kernel',
      'api',
      'store',
      'client',
      'apiserver',
      'controllers',
      'node',
      'plan',
      'proxy',
      'dns',
      'balancer',
      'lab',
    ],
    because: 'nothing imports it',
  },
};

/** Packages only one place may import, with the reason. */
const packages: Record<string, { readonly only: string; readonly because: string }> = {
  koffi: { only: 'src/kernel/ffi/', because: 'one folder knows how C is called' },
  commander: { only: 'src/cli/', because: 'only the command line parses arguments' },
  'node:sqlite': { only: 'src/store/', because: 'only the store knows how it lies on disk' },
};

const importPattern =
  /(?:^|\n)\s*(?:import|export)\s[^;]*?from\s+'([^']+)'|import\('([^']+)'\)|^import '([^']+)'/g;

/** One line per import that breaks a rule. */
export function violationsIn(file: string, source: string): string[] {
  const folder = file.split('/')[1] ?? '';
  const rule = rules[folder];
  if (rule === undefined) return [`${file}: folder src/${folder} has no rule in tools/layers.ts`];
  const found: string[] = [];
  for (const match of source.matchAll(importPattern)) {
    const target = match[1] ?? match[2] ?? match[3] ?? '';
    if (target.startsWith('.')) {
      const other = normalize(join(dirname(file), target)).split('/')[1] ?? '';
      if (other !== folder && !rule.imports.includes(other)) {
        found.push(`${file} imports src/${other}: src/${folder} may not, ${rule.because}`);
      }
    } else {
      const limit = packages[target];
      if (limit !== undefined && !file.startsWith(limit.only)) {
        found.push(`${file} imports ${target}: only ${limit.only} may, ${limit.because}`);
      }
    }
  }
  return found;
}

if (import.meta.main) {
  const files = globSync('src/**/*.ts').toSorted();
  const found = files.flatMap((file) =>
    file.endsWith('.test.ts') ? [] : violationsIn(file, readFileSync(file, 'utf8')),
  );
  for (const line of found) console.error(line);
  console.log(`layers: ${files.length} files read, ${found.length} imports that break a rule`);
  if (found.length > 0 || files.length === 0) process.exit(1);
}
