/** The smaller directives. */
import { availableParallelism } from 'node:os';

import { canonicalIp, parseCidr, type Cidr } from '../../../lib/ip.ts';
import { parseName, root } from '../../wire/name.ts';
import { parseClass, parseRcode, parseType } from '../../wire/text.ts';
import {
  argumentOf,
  argumentsOf,
  durationOf,
  flagOf,
  numberOf,
  oneOf,
  onlyOne,
  pathOf,
  readNamedFile,
  readProperties,
} from '../arguments.ts';
import { parseGoTemplate, type GoTemplate } from '../go-template.ts';
import type { Line } from '../parse.ts';
import { regExpOf } from '../regexp.ts';
import { fault, type Token } from '../tokens.ts';
import type {
  AclPolicy,
  AclSettings,
  AutopathSettings,
  ChaosSettings,
  Consolidation,
  ErrorsSettings,
  HostsSettings,
  LogClass,
  LogRule,
  LoadbalanceSettings,
  LogSettings,
  ReloadSettings,
  TemplateSettings,
  TransferSettings,
} from '../types.ts';
import { clientAuths, type TlsListenSettings } from '../../secure/tls-options.ts';
import { parseWeights } from '../../plugins/loadbalance-by-file.ts';
import { zonesOrBlock, type Context } from './directive.ts';
import { fallthroughOf } from './kubernetes.ts';
import { messageOf } from '../../../lib/errors.ts';
import { parseSearchList } from '../../upstream/servers.ts';

type Mutable<T> = { -readonly [key in keyof T]: T[key] };

/** `errors [stdout] { consolidate DURATION REGEXP [LEVEL] [show_first] }` */
export function readErrors(lines: readonly Line[], context: Context): ErrorsSettings {
  const line = onlyOne(lines);
  const [target] = argumentsOf(line, { max: 1 });
  if (target !== undefined) oneOf(target, ['stdout']);
  const consolidate: Consolidation[] = [];
  readProperties(line, {
    stacktrace: (inner) => {
      flagOf(inner);
      context.warn('"stacktrace" has no effect here: the log has them always');
    },
    consolidate: (inner) => consolidate.push(consolidationOf(inner)),
  });
  return { consolidate };
}

const levels = ['warning', 'error', 'info', 'debug'] as const;

function consolidationOf(line: Line): Consolidation {
  const [period, pattern, ...options] = argumentsOf(line, { min: 2, max: 4 });
  const showFirst = options.at(-1)?.text === 'show_first';
  const [level, extra] = showFirst ? options.slice(0, -1) : options;
  if (extra !== undefined) throw fault(extra, `"${extra.text}" must be "show_first"`);
  return {
    periodMs: durationOf(period!),
    periodText: period!.text,
    pattern: regExpOf(pattern!),
    level: level === undefined ? 'error' : oneOf(level, levels),
    showFirst,
  };
}

const commonFormat =
  '{remote}:{port} - {>id} "{type} {class} {name} {proto} {size} {>do} {>bufsize}" ' +
  '{rcode} {>rflags} {rsize} {duration}';

/** `log [ZONE…] [FORMAT] { class CLASS… }` */
export function readLog(lines: readonly Line[]): LogSettings {
  return { rules: lines.flatMap(logRulesOf) };
}

function logRulesOf(line: Line): LogRule[] {
  const args = argumentsOf(line, {});
  const hasFormat = args.at(-1)?.text.includes('{') === true;
  const zones = (hasFormat ? args.slice(0, -1) : args).map((token) => {
    const name = parseName(token.text.toLowerCase());
    if (name !== undefined) return name;
    throw fault(token, `"${token.text}" is not a domain name`);
  });
  const format = (hasFormat ? args.at(-1)!.text : '{common}')
    .replaceAll('{common}', commonFormat)
    .replaceAll('{combined}', `${commonFormat} "{>opcode}"`);
  const classes = new Set<LogClass>();
  readProperties(line, {
    class: (inner) => {
      for (const token of argumentsOf(inner, { min: 1 })) {
        classes.add(oneOf(token, ['all', 'success', 'denial', 'error']));
      }
    },
  });
  if (classes.size === 0) classes.add('all');
  return (zones.length === 0 ? [root] : zones).map((zone) => ({ zone, format, classes }));
}

/** `hosts [FILE [ZONE…]] { [ADDRESS NAME…] ttl … }` */
export function readHosts(lines: readonly Line[], context: Context): HostsSettings {
  const line = onlyOne(lines);
  const [file, ...zones] = argumentsOf(line, {});
  const found: Mutable<HostsSettings> = {
    path: file === undefined ? '/etc/hosts' : pathOf(file),
    inline: [],
    zones: zonesOrBlock(zones, context),
    ttlSeconds: 3600,
    reloadMs: 5000,
    reverse: true,
    fallthrough: [],
    fallthroughUnsupported: false,
  };
  const isInline = ({ words }: Line) => /^[0-9a-fA-F:.%]+$/.test(words[0]!.text);
  found.inline = line.body
    .filter(isInline)
    .map(({ words }) => words.map(({ text }) => text).join(' '));
  const properties = { ...line, body: line.body.filter((inner) => !isInline(inner)) };
  readProperties(properties, {
    ttl: (inner) => (found.ttlSeconds = numberOf(argumentOf(inner), { min: 1, max: 65_535 })),
    reload: (inner) => (found.reloadMs = durationOf(argumentOf(inner))),
    no_reverse: (inner) => (found.reverse = !flagOf(inner)),
    fallthrough: (inner) => (found.fallthrough = fallthroughOf(inner)),
    fallthrough_unsupported: (inner) => (found.fallthroughUnsupported = flagOf(inner)),
  });
  if (found.fallthroughUnsupported && found.fallthrough.length === 0) {
    throw fault(line.words[0]!, '"fallthrough_unsupported" needs "fallthrough"');
  }
  return found;
}

/** `bufsize [SIZE]` */
export function readBufsize(lines: readonly Line[]): number {
  const [size] = argumentsOf(onlyOne(lines), { max: 1 });
  return size === undefined ? 1232 : numberOf(size, { min: 512, max: 4096 });
}

/** `acl [ZONE…] { allow|block|filter|drop [type TYPE…] [net SOURCE…] }` */
export function readAcl(lines: readonly Line[], context: Context): AclSettings {
  return lines.map((line) => {
    const policies: AclPolicy[] = [];
    const reader = (action: AclPolicy['action']) => (inner: Line) => {
      policies.push({ action, ...policyOf(inner) });
    };
    readProperties(line, {
      allow: reader('allow'),
      block: reader('block'),
      filter: reader('filter'),
      drop: reader('drop'),
    });
    return { zones: zonesOrBlock(line.words.slice(1), context), policies };
  });
}

function policyOf(line: Line): Omit<AclPolicy, 'action'> {
  const sections = { type: [] as Token[], net: [] as Token[] };
  let section: 'type' | 'net' | undefined;
  for (const token of argumentsOf(line, {})) {
    const word = token.text.toLowerCase();
    if (word === 'type' || word === 'net') section = word;
    else if (section === undefined) throw fault(token, `"${token.text}" must be "type" or "net"`);
    else sections[section].push(token);
  }
  const isAny = (tokens: readonly Token[]) =>
    tokens.length === 0 || tokens.some(({ text }) => text === '*');
  return {
    types: isAny(sections.type) ? undefined : sections.type.map(typeOf),
    sources: isAny(sections.net) ? undefined : sections.net.map(cidrOf),
  };
}

function typeOf(token: Token): number {
  const type = parseType(token.text);
  if (type !== undefined) return type;
  throw fault(token, `"${token.text}" is not a record type`, 'Types are written like A or TYPE65');
}

/** A range, or one address. */
function cidrOf(token: Token) {
  const { text } = token;
  const cidr = parseCidr(text.includes('/') ? text : `${text}/${text.includes(':') ? 128 : 32}`);
  if (cidr !== undefined) return cidr;
  throw fault(token, `"${text}" is not an address or a range of them`);
}

/** `autopath [ZONE…] @kubernetes|RESOLV-CONF` */
export function readAutopath(lines: readonly Line[], context: Context): AutopathSettings {
  const args = argumentsOf(onlyOne(lines), { min: 1 });
  const last = args.at(-1)!;
  const zones = zonesOrBlock(args.slice(0, -1), context);
  if (last.text === '@kubernetes') return { zones, search: 'kubernetes' };
  if (last.text.startsWith('@')) {
    throw fault(last, `"${last.text}" knows no search lists`, 'Only @kubernetes does');
  }
  return { zones, search: parseSearchList(readNamedFile(last)) };
}

/** `template CLASS TYPE [ZONE…] { … }` */
export function readTemplate(lines: readonly Line[], context: Context): TemplateSettings[] {
  return lines.map((line) => templateOf(line, context));
}

function templateOf(line: Line, context: Context): TemplateSettings {
  const [classToken, typeToken, ...zones] = argumentsOf(line, { min: 2 });
  const recordClass = parseClass(classToken!.text);
  if (recordClass === undefined) throw fault(classToken!, `"${classToken!.text}" is not a class`);
  const patterns: RegExp[] = [];
  const found: Mutable<TemplateSettings> = {
    class: recordClass,
    type: typeOf(typeToken!),
    zones: zonesOrBlock(zones, context),
    patterns,
    answers: [],
    authorities: [],
    additionals: [],
    rcode: 0,
    fallthrough: [],
    extendedError: undefined,
  };
  const add = (section: 'answers' | 'authorities' | 'additionals') => (inner: Line) => {
    found[section] = [...found[section], ...argumentsOf(inner, { min: 1 }).map(recordTemplate)];
  };
  readProperties(line, {
    match: (inner) => patterns.push(...argumentsOf(inner, { min: 1 }).map(regExpOf)),
    answer: add('answers'),
    authority: add('authorities'),
    additional: add('additionals'),
    rcode: (inner) => (found.rcode = rcodeOf(argumentOf(inner))),
    ederror: (inner) => {
      const [code, text] = argumentsOf(inner, { min: 1, max: 2 });
      found.extendedError = { code: numberOf(code!, { max: 65_535 }), text: text?.text ?? '' };
    },
    fallthrough: (inner) => (found.fallthrough = fallthroughOf(inner)),
    upstream: () => context.warn('"upstream" of "template" is always on, and obsolete'),
  });
  if (patterns.length === 0) patterns.push(/.*/);
  return found;
}

function recordTemplate(token: Token): GoTemplate {
  try {
    return parseGoTemplate(token.text);
  } catch (error) {
    throw fault(token, `"${token.text}" cannot be filled in: ${messageOf(error)}`);
  }
}

function rcodeOf(token: Token): number {
  const rcode = parseRcode(token.text);
  if (rcode !== undefined && rcode < 16) return rcode;
  throw fault(token, `"${token.text}" is not an rcode`, 'Rcodes are written like NXDOMAIN');
}

/** `tls CERT KEY [CA] { client_auth KIND }` */
export function readTls(lines: readonly Line[]): TlsListenSettings {
  const line = onlyOne(lines);
  const args = argumentsOf(line, { min: 2, max: 3 });
  for (const token of args) readNamedFile(token);
  const [cert, key, ca] = args.map(pathOf);
  let clientAuth: TlsListenSettings['clientAuth'] = 'nocert';
  readProperties(line, {
    client_auth: (inner) => (clientAuth = oneOf(argumentOf(inner), clientAuths)),
  });
  return { cert: cert!, key: key!, ca, clientAuth };
}

/** `reload [INTERVAL] [JITTER]` */
export function readReload(lines: readonly Line[]): ReloadSettings {
  const [interval, jitter] = argumentsOf(onlyOne(lines), { max: 2 });
  const intervalMs = interval === undefined ? 30_000 : durationOf(interval, { minMs: 2000 });
  const wanted = jitter === undefined ? 15_000 : durationOf(jitter);
  if (wanted !== 0 && wanted < 1000)
    throw fault(jitter!, `"${jitter!.text}" must be 0 or at least 1s`);
  return { intervalMs, jitterMs: Math.min(wanted, intervalMs / 2) };
}

/** `transfer [ZONE…] { to *|ADDRESS… }` */
export function readTransfer(lines: readonly Line[], context: Context): TransferSettings {
  return lines.map((line) => {
    const to: string[] = [];
    readProperties(line, {
      to: (inner) => to.push(...argumentsOf(inner, { min: 1 }).map(transferAddressOf)),
    });
    if (to.length === 0) throw fault(line.words[0]!, '"transfer" needs "to"');
    const zones = zonesOrBlock(line.words.slice(1), context);
    return { zones, to: to.includes('*') ? 'all' : to };
  });
}

function transferAddressOf(token: Token): string {
  if (token.text === '*') return '*';
  const host = token.text.replace(/^\[(.*)\](:\d+)?$/, '$1').replace(/^([\d.]+):\d+$/, '$1');
  const address = canonicalIp(host);
  if (address !== undefined) return address;
  throw fault(token, `"${token.text}" is neither an IP address nor "*"`);
}

/** `multisocket [SOCKETS]`; without a number one for each processor. */
export function readMultisocket(lines: readonly Line[]): number {
  const [count] = argumentsOf(onlyOne(lines), { max: 1 });
  return count === undefined ? availableParallelism() : numberOf(count, { min: 1, max: 1024 });
}

/** `loadbalance [round_robin | weighted FILE] { reload DURATION; prefer RANGE… }` */
export function readLoadbalance(lines: readonly Line[]): LoadbalanceSettings {
  const line = onlyOne(lines);
  const [policy, file] = argumentsOf(line, { max: 2 });
  const isWeighted =
    policy !== undefined && oneOf(policy, ['round_robin', 'weighted']) === 'weighted';
  if (isWeighted !== (file !== undefined)) {
    throw fault(policy!, isWeighted ? '"weighted" names no file' : '"round_robin" takes no file');
  }
  let reloadMs = 30_000;
  let prefer: readonly Cidr[] = [];
  readProperties(line, {
    reload: (inner) => (reloadMs = durationOf(argumentOf(inner))),
    prefer: (inner) => (prefer = argumentsOf(inner, { min: 1 }).map(cidrOf)),
  });
  if (file === undefined) return { weights: undefined, prefer };
  try {
    parseWeights(readNamedFile(file));
  } catch (error) {
    throw fault(file, `cannot use the weights in "${file.text}": ${messageOf(error)}`);
  }
  return { weights: { path: pathOf(file), reloadMs }, prefer };
}

/** `chaos [VERSION [AUTHOR…]]` */
export function readChaos(lines: readonly Line[]): ChaosSettings {
  const [version, ...authors] = argumentsOf(onlyOne(lines), {});
  const texts = authors.map(({ text }) => text);
  return {
    version: version?.text ?? 'fairlead',
    authors: texts.length === 0 ? ['the Fairlead authors'] : texts,
  };
}
