/** A Corefile as a checked configuration. */
import { createHash } from 'node:crypto';
import { readFileSync } from 'node:fs';

import { messageOf, UserError } from '../../lib/errors.ts';
import { anyHost } from '../own-addresses.ts';
import type { Name } from '../wire/name.ts';
import { zonesOf } from './arguments.ts';
import { didYouMean } from './did-you-mean.ts';
import type { Context } from './directives/directive.ts';
import { harmless, missing, readers } from './directives/index.ts';
import { parseBlocks, type Line, type ParseOptions, type RawBlock } from './parse.ts';
import { fault, type Token } from './tokens.ts';
import type { Configuration, PluginSettings, Scheme, ServerBlock, Site } from './types.ts';

export type CorefileOptions = ParseOptions & {
  /** The port of zones that name none. */
  readonly port?: number;
};

export type ReadCorefile = {
  readonly configuration: Configuration;
  /** SHA-512 of all words, imports included: comments and spaces do not count (D98). */
  readonly digest: string;
};

/** Reads a Corefile and what it imports; throws `UserError` BAD_COREFILE with file and line. */
export function readCorefile(path: string, options: CorefileOptions): ReadCorefile {
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    throw new UserError('BAD_COREFILE', `Cannot use Corefile "${path}": ${messageOf(error)}`);
  }
  const raw = parseBlocks(text, path, options);
  return { configuration: configurationOf(raw, path, options), digest: digestOf(raw) };
}

/** `file` is what errors name, and where relative imports start. */
export function parseCorefile(text: string, file: string, options: CorefileOptions): Configuration {
  return configurationOf(parseBlocks(text, file, options), file, options);
}

function digestOf(raw: readonly RawBlock[]): string {
  const words = JSON.stringify(raw, (key, value: unknown) => {
    return key === 'file' || key === 'line' || key === 'at' ? undefined : value;
  });
  return createHash('sha512').update(words).digest('hex');
}

function configurationOf(
  raw: readonly RawBlock[],
  file: string,
  options: CorefileOptions,
): Configuration {
  if (raw.length === 0) throw fault({ file, line: 1 }, 'it has no server block');
  const blocks = raw.map((block) => readBlock(block, options));
  refuseTwice(raw, blocks);
  return { blocks };
}

type Key = { readonly zone: Name; readonly scheme: Scheme; readonly port: number };

function readBlock(raw: RawBlock, options: CorefileOptions): ServerBlock {
  const keys = raw.keys.flatMap((token) => keysOf(token, options.port ?? usualPorts.dns));
  const context: Context = {
    zones: keys.map(({ zone }) => zone),
    anyHost: anyHost(),
    warn: options.warn,
  };
  const plugins = readPlugins(raw.lines, context);
  if (plugins.tls === undefined && keys.some(({ scheme }) => scheme === 'tls')) {
    throw fault(raw.at, 'a tls:// zone needs the directive "tls" with a certificate and a key');
  }
  const hosts = plugins.bind ?? [context.anyHost];
  const sites: Site[] = hosts.flatMap((host) => keys.map((key) => ({ ...key, host })));
  return { sites, plugins };
}

const usualPorts: Record<Scheme, number> = { dns: 53, tls: 853, https: 443 };

/** `example.org`, `.:53`, `10.0.0.0/24`, `tls://.:853`: a zone or several, and where they are served. */
function keysOf(token: Token, dnsPort: number): Key[] {
  const [, schemeText, rest = ''] = /^(?:(\w+):\/\/)?(.*)$/s.exec(token.text)!;
  const scheme = (['dns', 'tls', 'https'] as const).find(
    (known) => known === (schemeText ?? 'dns'),
  );
  if (scheme === undefined) {
    throw fault(token, `"${schemeText}://" is not served`, 'There are: dns://, tls://, https://');
  }
  const [, zoneText = rest, portText] = /^(.*):(\d+)$/s.exec(rest) ?? [];
  const port =
    portText === undefined ? (scheme === 'dns' ? dnsPort : usualPorts[scheme]) : +portText;
  if (port > 65_535) throw fault(token, `${port} is no port, it must be below 65536`);
  const zones = zonesOf({ ...token, text: zoneText === '' ? '.' : zoneText });
  return zones.map((zone) => ({ zone, scheme, port }));
}

function readPlugins(lines: readonly Line[], context: Context): PluginSettings {
  const byName = Map.groupBy(lines, ({ words }) => words[0]!.text);
  const plugins: Record<string, unknown> = {};
  for (const [name, found] of byName) {
    if (isDirective(name)) plugins[name] = readers[name](found, context);
    else if (harmless.includes(name)) context.warn(`"${name}" has no effect here`);
    else throw unknownDirective(found[0]!.words[0]!);
  }
  return plugins;
}

function isDirective(name: string): name is keyof typeof readers {
  return Object.hasOwn(readers, name);
}

function unknownDirective(token: Token) {
  const known = [...Object.keys(readers), ...harmless, 'import'];
  if (missing.includes(token.text)) {
    return fault(token, `directive "${token.text}" of CoreDNS is not here`);
  }
  const hint = didYouMean(token.text, known) ?? `There are: ${known.toSorted().join(', ')}`;
  return fault(token, `unknown directive "${token.text}"`, hint);
}

/** Two blocks cannot answer for the same zone on the same socket. */
function refuseTwice(raw: readonly RawBlock[], blocks: readonly ServerBlock[]): void {
  const seen = new Map<string, RawBlock>();
  for (const [index, { sites }] of blocks.entries()) {
    for (const { zone, scheme, host, port } of sites) {
      const key = JSON.stringify([zone, scheme, host, port]);
      const other = seen.get(key);
      const block = raw[index]!;
      if (other !== undefined) {
        const where = `line ${other.at.line} of "${other.at.file}"`;
        throw fault(block.at, `a zone of this block is served by the one at ${where} already`);
      }
      seen.set(key, block);
    }
  }
}
