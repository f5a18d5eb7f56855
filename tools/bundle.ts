/**
 * Makes the bundle that `bin/fairlead` runs (docs/decisions/0003 and 0009): some 300 small modules load in
 * 240 ms, one file with its bytecode in a tenth of that. Takes half a second; the launcher asks for it when
 * a source is newer.
 */
import { createHash } from 'node:crypto';
import {
  existsSync,
  globSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { builtinModules } from 'node:module';
import { basename, join, relative } from 'node:path';
import { build, type BuildOptions, type Plugin } from 'esbuild';
import { writeCompiled } from '../src/cli/compiled.ts';

const root = join(import.meta.dirname, '..');
const commands = join(root, 'src', 'cli');
const target = join(root, 'node_modules', '.cache', 'fairlead');
const errors = join(root, 'src', 'lib', 'errors.ts');

/** Commands and components, each loaded when it is asked for: with all it needs, so that a process loads few files. */
const parts = globSync('*.ts', { cwd: commands }).flatMap((file) =>
  [...readFileSync(join(commands, file), 'utf8').matchAll(/import\('\.\/([a-z-]+)\.ts'\)/g)].map(
    ([, part]) => part!,
  ),
);
/** Threads start from files of their own. */
const threads = [join(root, 'src', 'dns', 'workers', 'udp-worker.ts')];
/** Big, and needed only when somebody asks: read from files of their own then. */
const libraries = ['prom-client', 'ws'];

/**
 * An `import` of a built-in module evaluates every one of its exports, and for node:http that loads
 * a whole second HTTP client, for node:util a stream. Here each export is a read of its own, and those
 * that nobody uses are dropped.
 */
const lazyBuiltins: Plugin = {
  name: 'lazy-builtins',
  setup(builder) {
    builder.onResolve({ filter: /^[a-z0-9_:/]+$/ }, ({ path, kind }) => {
      const name = path.replace(/^node:/, '');
      if (!builtinModules.includes(name) && !builtinModules.includes(`node:${name}`))
        return undefined;
      return kind === 'import-statement'
        ? { path: `node:${name}`, namespace: 'builtin', sideEffects: false }
        : { path: `node:${name}`, external: true };
    });
    builder.onLoad({ filter: /.*/, namespace: 'builtin' }, ({ path }) => ({
      contents: namedReads(path),
      loader: 'js',
    }));
  },
};

/** A module that reads each export of a built-in one for itself. */
function namedReads(path: string): string {
  const from = `process.getBuiltinModule(${JSON.stringify(path)})`;
  const names = Object.keys(process.getBuiltinModule(path) ?? {}).filter((name) =>
    /^\w+$/.test(name),
  );
  return [
    `export default /* @__PURE__ */ (() => ${from})();`,
    ...names.flatMap((name) => [
      `const own_${name} = /* @__PURE__ */ (() => ${from}.${name})();`,
      `export { own_${name} as ${name} };`,
    ]),
  ].join('\n');
}

/** The native part of the FFI library stays where npm put it; named by its file, it is found without a search. */
const nativeInPlace: Plugin = {
  name: 'native-in-place',
  setup(builder) {
    builder.onResolve({ filter: /^@koromix\// }, ({ path }) => {
      const file = join(root, 'node_modules', path, 'index.js');
      return {
        path: existsSync(file) ? relative(join(target, 'parts'), file) : path,
        external: true,
      };
    });
  },
};

/**
 * Libraries are files of their own. So is lib/errors.ts: an error is told by its class, which must be the same
 * in the part that throws and in the one that catches.
 */
const sharedApart: Plugin = {
  name: 'shared-apart',
  setup(builder) {
    builder.onResolve({ filter: /^[a-z-]+$|\/errors\.ts$/ }, ({ path, kind, resolveDir }) => {
      if (kind === 'entry-point') return undefined;
      const isErrors = join(resolveDir, path) === errors;
      if (!isErrors && !libraries.includes(path)) return undefined;
      return { path: `../${basename(path, '.ts')}.cjs`, external: true };
    });
  },
};

/** A part is loaded together with its bytecode, from a directory beside the loading file. */
function partsApart(directory: string): Plugin {
  return {
    name: 'parts-apart',
    setup(builder) {
      builder.onResolve({ filter: /^\.\/[a-z-]+\.ts$/ }, ({ path, kind, resolveDir }) => {
        const part = basename(path, '.ts');
        const apart = kind === 'dynamic-import' && resolveDir === commands && parts.includes(part);
        return apart ? { path: part, namespace: 'part' } : undefined;
      });
      builder.onLoad({ filter: /.*/, namespace: 'part' }, ({ path }) => ({
        contents: `module.exports = require('./compiled.ts').loadCompiled(__dirname + '/${directory}${path}.cjs');`,
        resolveDir: commands,
      }));
    },
  };
}

function options(outdir: string, plugins: Plugin[] = []): BuildOptions {
  return {
    bundle: true,
    // An ES module takes Node longer to find, link and start.
    format: 'cjs',
    outExtension: { '.js': '.cjs' },
    supported: { 'dynamic-import': false },
    platform: 'node',
    target: 'node26',
    outdir,
    // Loaded only when asked for.
    external: ['yaml'],
    // The variant that names its native part where a bundler sees it.
    alias: { koffi: join(root, 'node_modules', 'koffi', 'index.cjs') },
    plugins: [...plugins, nativeInPlace, lazyBuiltins],
    // The text stays in memory. An error that nobody catches shows a line of it, so lines stay short.
    minifyWhitespace: true,
    lineLimit: 120,
    charset: 'ascii',
    sourcemap: 'linked',
    sourcesContent: false,
    logLevel: 'warning',
    define: { 'import.meta.dirname': '__dirname', 'import.meta.url': 'urlOfThisFile' },
    banner: { js: "const urlOfThisFile = require('node:url').pathToFileURL(__filename).href;" },
  };
}

/** With the comments gone, only a regular expression still has other characters; there an escape means the same. */
function inAscii(text: string): string {
  return text.replaceAll(
    /[^\p{ASCII}]/gu,
    (char) => `\\u${char.codePointAt(0)!.toString(16).padStart(4, '0')}`,
  );
}

// Built aside and moved into place with the entry last: a lab may start from the old one meanwhile.
mkdirSync(target, { recursive: true });
const fresh = mkdtempSync(`${target}.`);
const freshParts = join(fresh, 'parts');
await build({
  ...options(freshParts, [sharedApart, partsApart('')]),
  entryPoints: [...parts.map((part) => join(commands, `${part}.ts`)), ...threads],
  entryNames: '[name]',
});
const content = createHash('sha256');
for (const part of new Set(parts)) {
  const file = join(freshParts, `${part}.cjs`);
  const text = inAscii(readFileSync(file, 'utf8'));
  writeFileSync(file, text);
  writeCompiled(file);
  content.update(text);
}
// Text and bytecode belong together, whichever is read while another bundle is made.
const version = content.digest('hex').slice(0, 12);
await build({ ...options(fresh), entryPoints: [errors, ...libraries], entryNames: '[name]' });
await build({
  ...options(fresh, [partsApart(`${version}/`)]),
  entryPoints: [join(commands, 'main.ts')],
});

if (!existsSync(join(target, version))) renameSync(freshParts, join(target, version));
const shared = readdirSync(fresh).filter((file) => file !== 'parts');
for (const file of shared.toSorted((a, b) => Number(a === 'main.cjs') - Number(b === 'main.cjs')))
  renameSync(join(fresh, file), join(target, file));
rmSync(fresh, { recursive: true });
// A process that has just started may be about to read its part.
const oldMs = Date.now() - 10 * 60_000;
for (const file of readdirSync(target)) {
  if (file === version || shared.includes(file)) continue;
  if (statSync(join(target, file)).mtimeMs < oldMs) rmSync(join(target, file), { recursive: true });
}
