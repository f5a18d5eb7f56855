/** Random questions to a cluster's DNS server: existing names, near misses, and no names at all. */
import { resources } from '../../../src/api/resources.ts';
import type { Random } from '../../support/random.ts';
import type { World } from './world.ts';

export type Edns = {
  readonly udpBytes: number;
  readonly version: number;
  readonly dnssecOk: boolean;
  readonly options: readonly { readonly code: number; readonly bytes: Uint8Array }[];
};

export type Question = {
  readonly transport: 'udp' | 'tcp';
  readonly opcode: number;
  /** Header bits besides QR and the opcode. */
  readonly flags: number;
  /** Labels in latin1, so that any byte can stand in them. */
  readonly labels: readonly string[];
  readonly type: number;
  readonly class: number;
  readonly edns: Edns | undefined;
  /** How the bytes are spoilt in the end; undefined: they are not. */
  readonly damage: Damage | undefined;
};

export type Damage =
  | { readonly kind: 'cut'; readonly bytes: number }
  | { readonly kind: 'byte'; readonly at: number; readonly value: number }
  | { readonly kind: 'tail'; readonly bytes: number }
  | { readonly kind: 'count'; readonly at: 4 | 6 | 8 | 10; readonly value: number };

export const types: { readonly [name: string]: number } = {
  A: 1,
  NS: 2,
  CNAME: 5,
  SOA: 6,
  NULL: 10,
  PTR: 12,
  HINFO: 13,
  MX: 15,
  TXT: 16,
  AAAA: 28,
  SRV: 33,
  NAPTR: 35,
  OPT: 41,
  DS: 43,
  DNSKEY: 48,
  SVCB: 64,
  HTTPS: 65,
  TKEY: 249,
  IXFR: 251,
  AXFR: 252,
  ANY: 255,
  CAA: 257,
};

const usualTypes = [
  'A',
  'A',
  'A',
  'AAAA',
  'AAAA',
  'SRV',
  'SRV',
  'PTR',
  'CNAME',
  'TXT',
  'NS',
  'SOA',
];

/** Which parts of a question may be unusual. */
export type Range = { readonly outside: boolean; readonly damage: boolean };

export function randomQuestion(random: Random, world: World, range: Range): Question {
  const transport = random.once(4) ? 'tcp' : 'udp';
  const labels = respelled(random, nearMiss(random, world, nameIn(random, world, range)));
  const question: Question = {
    transport,
    opcode: random.once(12) ? random.pick([1, 2, 3, 4, 4, 4, 5, 6, 15]) : 0,
    flags: randomFlags(random),
    labels: fitting(labels),
    type: randomType(random),
    class: random.once(25) ? random.pick([0, 2, 3, 3, 4, 254, 255, 999]) : 1,
    edns: random.once(2) ? randomEdns(random) : undefined,
    damage: undefined,
  };
  if (!range.damage || !random.once(6)) return question;
  return { ...question, damage: randomDamage(random) };
}

function randomFlags(random: Random): number {
  const rd = random.once(4) ? 0 : 0x0100;
  return random.once(6) ? rd | random.pick([0x0010, 0x0020, 0x0040, 0x0080, 0x0200, 0x0400]) : rd;
}

function randomType(random: Random): number {
  if (random.once(30)) return random.pick([0, 99, 999, 65_280, 65_535]);
  return types[random.once(3) ? random.pick(Object.keys(types)) : random.pick(usualTypes)]!;
}

function randomEdns(random: Random): Edns {
  const sizes = [0, 100, 511, 512, 513, 700, 1232, 1452, 4096, 65_535];
  const options = random.many(random.once(3) ? 1 + random.below(3) : 0, () => ({
    code: random.pick([3, 8, 9, 10, 11, 12, 15, 65_001]),
    bytes: new Uint8Array(random.pick([0, 0, 2, 8, 16, 100])),
  }));
  return {
    udpBytes: random.pick(sizes),
    version: random.once(15) ? random.pick([1, 255]) : 0,
    dnssecOk: random.once(4),
    options: options.map(wellFormed),
  };
}

/** Lengths that the options' own formats ask for; wrong ones are the fuzz test's matter. */
function wellFormed({ code, bytes }: { code: number; bytes: Uint8Array }) {
  const sizes: Record<number, number> = { 3: 0, 9: 0, 10: 8, 11: 0, 15: 2 };
  if (code === 8) return { code, bytes: Uint8Array.of(0, 1, 24, 0, 192, 0, 2) };
  return { code, bytes: new Uint8Array(sizes[code] ?? bytes.length) };
}

function randomDamage(random: Random): Damage {
  switch (random.below(4)) {
    case 0:
      return { kind: 'cut', bytes: random.below(60) };
    case 1:
      return { kind: 'byte', at: 2 + random.below(40), value: random.below(256) };
    case 2:
      return { kind: 'tail', bytes: 1 + random.below(20) };
    default:
      return { kind: 'count', at: random.pick([4, 6, 8, 10] as const), value: random.below(4) };
  }
}

function nameIn(random: Random, world: World, range: Range): string[] {
  const label = () => random.pick(world.labels);
  const address = () =>
    world.addresses.length === 0 ? '10.244.0.1' : random.pick(world.addresses);
  const service = () => [...serviceKey(random, world), 'svc', 'cluster', 'local'];
  switch (random.below(range.outside ? 14 : 12)) {
    case 0:
      return random
        .pick([[], ['svc'], ['pod'], ['dns'], ['ns', 'dns'], ['dns-version']])
        .concat(['cluster', 'local']);
    case 1:
      return [label(), random.pick(['svc', 'pod']), 'cluster', 'local'];
    case 2:
      return [dashed(address()), label(), 'pod', 'cluster', 'local'];
    case 3:
    case 4:
      return reverse(address());
    case 5:
      return [random.pick([dashed(address()), label()]), ...service()];
    case 6:
    case 7:
      return [`_${label()}`, random.pick(['_tcp', '_udp', '_sctp', '_']), ...service()];
    case 8:
      return endpointName(random, world);
    case 12:
      return random.pick([['www'], ['gone'], ['broken'], ['many']]).concat(['example', 'com']);
    case 13:
      return random.pick([[], ['local'], ['com'], ['notcluster', 'local'], ['version', 'bind']]);
    default:
      return service();
  }
}

/** Mostly a Service that exists. */
function serviceKey(random: Random, world: World): string[] {
  const services = world.objects.filter(({ resource }) => resource === resources.services);
  if (services.length === 0 || random.once(6)) {
    return [random.pick(world.labels), random.pick(world.labels)];
  }
  const { name, namespace = '' } = random.pick(services).object.metadata;
  return [name, namespace];
}

type Endpoint = { addresses: string[]; hostname?: string };

function endpointName(random: Random, world: World): string[] {
  const slices = world.objects.filter(({ resource }) => resource === resources.endpointslices);
  if (slices.length === 0) return ['cluster', 'local'];
  const { metadata, endpoints } = random.pick(slices).object as never as {
    metadata: { namespace: string; labels?: Record<string, string> };
    endpoints: Endpoint[];
  };
  const service = metadata.labels?.['kubernetes.io/service-name'] ?? 'web';
  const below = [service, metadata.namespace, 'svc', 'cluster', 'local'];
  if (endpoints.length === 0) return below;
  const { hostname, addresses } = random.pick(endpoints);
  return [hostname !== undefined && !random.once(4) ? hostname : dashed(addresses[0]!), ...below];
}

function dashed(address: string): string {
  return address.replaceAll(/[.:]/g, '-');
}

function reverse(address: string): string[] {
  if (!address.includes(':')) return [...address.split('.').toReversed(), 'in-addr', 'arpa'];
  const [head = '', tail] = address.split('::');
  const words = (text: string) => (text === '' ? [] : text.split(':'));
  const before = words(head);
  const after = words(tail ?? '');
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const all = tail === undefined ? before : [...before, ...zeros, ...after];
  const nibbles = all.map((word) => word.padStart(4, '0')).join('');
  return [...nibbles.split('').toReversed(), 'ip6', 'arpa'];
}

/** One time in three the name is not quite the one it was. */
function nearMiss(random: Random, world: World, labels: string[]): string[] {
  if (!random.once(3) || labels.length === 0) return labels;
  const at = random.below(labels.length);
  const odd = ['*', 'any', '_', '-', '_tcp', 'a.b', '\xff\x00', ' ', 'x'.repeat(63), '1', '256'];
  switch (random.below(5)) {
    case 0:
      return labels.toSpliced(at, 1);
    case 1:
      return labels.toSpliced(at, 0, random.pick(world.labels));
    case 2:
      return labels.with(at, random.pick(odd));
    case 3:
      return labels.toSpliced(0, 0, random.pick(odd));
    default:
      return labels.with(at, random.pick(world.labels));
  }
}

/** Every other name in mixed case, as resolvers send them against forgery. */
function respelled(random: Random, labels: string[]): string[] {
  if (random.once(2)) return labels;
  return labels.map((label) =>
    label.replaceAll(/[a-z]/g, (letter) => (random.once(2) ? letter.toUpperCase() : letter)),
  );
}

/** RFC 1035 §2.3.4: 63 bytes a label, 255 a name. */
function fitting(labels: readonly string[]): string[] {
  const kept: string[] = [];
  let size = 1;
  for (const label of labels.toReversed()) {
    size += 1 + label.length;
    if (label === '' || label.length > 63 || size > 255) break;
    kept.unshift(label);
  }
  return kept;
}

/** The question as it goes over the wire, written here and not by the server's own codec. */
export function bytesOf(question: Question, id: number): Buffer {
  const { opcode, flags, labels, type, edns, damage } = question;
  const header = Buffer.alloc(12);
  header.writeUInt16BE(id, 0);
  header.writeUInt16BE((opcode << 11) | flags, 2);
  header.writeUInt16BE(1, 4);
  header.writeUInt16BE(edns === undefined ? 0 : 1, 10);
  const name = labels.map((label) =>
    Buffer.concat([Buffer.of(label.length), Buffer.from(label, 'latin1')]),
  );
  const end = Buffer.alloc(5);
  end.writeUInt16BE(type, 1);
  end.writeUInt16BE(question.class, 3);
  const parts = [header, ...name, end, ...(edns === undefined ? [] : [optOf(edns)])];
  return damaged(Buffer.concat(parts), damage);
}

function optOf({ udpBytes, version, dnssecOk, options }: Edns): Buffer {
  const body = options.map(({ code, bytes }) => {
    const head = Buffer.alloc(4);
    head.writeUInt16BE(code, 0);
    head.writeUInt16BE(bytes.length, 2);
    return Buffer.concat([head, bytes]);
  });
  const rdata = Buffer.concat(body);
  const head = Buffer.alloc(11);
  head.writeUInt16BE(types.OPT!, 1);
  head.writeUInt16BE(udpBytes, 3);
  head.writeUInt8(version, 6);
  head.writeUInt16BE(dnssecOk ? 0x8000 : 0, 7);
  head.writeUInt16BE(rdata.length, 9);
  return Buffer.concat([head, rdata]);
}

function damaged(bytes: Buffer, damage: Damage | undefined): Buffer {
  switch (damage?.kind) {
    case 'cut':
      return bytes.subarray(0, Math.max(0, bytes.length - damage.bytes));
    case 'byte':
      if (damage.at < bytes.length) bytes[damage.at] = damage.value;
      return bytes;
    case 'tail':
      return Buffer.concat([bytes, Buffer.alloc(damage.bytes, 0x61)]);
    case 'count':
      bytes.writeUInt16BE(damage.value, damage.at);
      return bytes;
    default:
      return bytes;
  }
}

/** One line that says all of it, as dig(1) would be called. */
export function describe(question: Question): string {
  const { transport, opcode, flags, labels, type, edns, damage } = question;
  const name = labels.map((label) => label.replaceAll(/[^!-~]|[.\\]/g, escaped)).join('.');
  const typeName = Object.entries(types).find(([, value]) => value === type)?.[0] ?? `TYPE${type}`;
  const options = edns?.options.map(({ code, bytes }) => `${code}:${bytes.length}`) ?? [];
  return [
    transport,
    `${name}.`,
    typeName,
    ...(question.class === 1 ? [] : [`class=${question.class}`]),
    ...(opcode === 0 ? [] : [`opcode=${opcode}`]),
    `flags=${flags.toString(16).padStart(4, '0')}`,
    ...(edns === undefined
      ? []
      : [
          `edns=${edns.udpBytes}/${edns.version}${edns.dnssecOk ? '/do' : ''} ${options.join(',')}`,
        ]),
    ...(damage === undefined ? [] : [`damage=${JSON.stringify(damage)}`]),
  ].join(' ');
}

function escaped(character: string): string {
  return `\\${String(character.charCodeAt(0)).padStart(3, '0')}`;
}
