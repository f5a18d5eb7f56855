/** The cluster that the DNS benchmark asks about, in three forms: API objects, zone files, questions. */
import type { KubeObject } from '../../src/api/meta.ts';

const namespaces = 50;
const headlessServices = 10;
const podsPerHeadless = 100;
const externalHosts = 1000;
/** What the row with search domains tries, as a pod of namespace `ns-0` would. */
const searchDomains = ['ns-0.svc.cluster.local', 'svc.cluster.local', 'cluster.local'];

/** Names outside the cluster end in this. */
export const externalZone = 'example';
const domain = 'cluster.local';

type NamedService = { readonly name: string; readonly namespace: string; readonly ip: string };

/** The rows of the benchmark: what is asked, and which servers have an answer to it. */
export const rows = [
  'ClusterIP A',
  'headless, 100 pods',
  'SRV',
  'NXDOMAIN, search',
  'PTR',
  'external, kept',
  'mix',
  'ClusterIP A, TCP',
] as const;
export type Row = (typeof rows)[number];

function services(count: number): NamedService[] {
  return Array.from({ length: count }, (_, index) => {
    // 10.96.0.x is for the cluster's own Services.
    const at = index + 256;
    const namespace = `ns-${index % namespaces}`;
    return { name: `svc-${index}`, namespace, ip: `10.96.${at >> 8}.${at & 0xff}` };
  });
}

function pods(service: number): string[] {
  return Array.from({ length: podsPerHeadless }, (_, pod) => `10.244.${service + 1}.${pod + 1}`);
}

const headless = Array.from({ length: headlessServices }, (_, index) => ({
  name: `db-${index}`,
  namespace: `ns-${index % namespaces}`,
  pods: pods(index),
}));

type Made = { readonly resource: 'namespaces' | 'services' | 'endpointslices'; object: KubeObject };

/** Everything to create, Namespaces first. Each Service has a slice with two endpoints. */
export function* objects(count: number): Generator<Made> {
  for (let index = 0; index < namespaces; index += 1) {
    yield { resource: 'namespaces', object: { metadata: { name: `ns-${index}` } } };
  }
  const port = { name: 'http', port: 80, protocol: 'TCP' };
  for (const [index, { name, namespace, ip }] of services(count).entries()) {
    const metadata = { name, namespace };
    yield service(metadata, { clusterIP: ip, selector: { app: name }, ports: [port] });
    const low = `${(index >> 8) & 0xff}.${index & 0xff}`;
    yield slice(metadata, [`10.${128 + ((index >> 16) & 63)}.${low}`, `10.192.${low}`]);
  }
  for (const { name, namespace, pods: addresses } of headless) {
    yield service({ name, namespace }, { clusterIP: 'None', ports: [port] });
    yield slice({ name, namespace }, addresses);
  }

  function service(metadata: KubeObject['metadata'], spec: object): Made {
    return { resource: 'services', object: { metadata, spec } as unknown as KubeObject };
  }
  function slice({ name, namespace }: KubeObject['metadata'], addresses: string[]): Made {
    const object = {
      metadata: {
        name: `${name}-1`,
        namespace,
        labels: { 'kubernetes.io/service-name': name },
      },
      addressType: 'IPv4',
      endpoints: addresses.map((address) => ({
        addresses: [address],
        conditions: { ready: true },
      })),
      ports: [port],
    };
    return { resource: 'endpointslices', object: object as unknown as KubeObject };
  }
}

/** The same records as static zones, in the form of RFC 1035 §5, by zone name. */
export function zoneFiles(count: number): Map<string, string> {
  const soa = (zone: string) =>
    `$ORIGIN ${zone}.\n$TTL 30\n@ IN SOA ns.dns hostmaster 1 7200 1800 86400 30\n@ IN NS ns.dns\nns.dns IN A 127.0.0.1\n`;
  const forward = [soa(domain)];
  const reverse = [soa('in-addr.arpa')];
  for (const { name, namespace, ip } of services(count)) {
    const owner = `${name}.${namespace}.svc`;
    forward.push(`${owner} IN A ${ip}\n_http._tcp.${owner} IN SRV 0 100 80 ${owner}\n`);
    reverse.push(`${reversed(ip)} IN PTR ${owner}.${domain}.\n`);
  }
  for (const { name, namespace, pods: addresses } of headless) {
    for (const address of addresses) forward.push(`${name}.${namespace}.svc IN A ${address}\n`);
  }
  return new Map([
    [domain, forward.join('')],
    ['in-addr.arpa', reverse.join('')],
    [externalZone, externalZoneFile()],
  ]);
}

/** The zone that the server upstream has; its records live longer than a run. */
export function externalZoneFile(): string {
  const lines = [
    `$ORIGIN ${externalZone}.\n$TTL 3600\n@ IN SOA ns hostmaster 1 7200 1800 86400 30\n@ IN NS ns\nns IN A 192.0.2.53\n`,
  ];
  for (const host of externalNames()) {
    lines.push(`${host}. IN A 198.51.100.1\n${host}. IN A 198.51.100.2\n`);
  }
  return lines.join('');
}

function externalNames(): string[] {
  return Array.from({ length: externalHosts }, (_, index) => `www.host-${index}.${externalZone}`);
}

function reversed(ip: string): string {
  return ip.split('.').toReversed().join('.');
}

/** The questions of a row, as dnsperf reads them, in an order that looks random and is always the same. */
export function questions(row: Row, count: number): string {
  return shuffled(questionsOf(row, count)).join('\n') + '\n';
}

function questionsOf(row: Row, count: number): string[] {
  const known = services(count);
  const nameOf = ({ name, namespace }: { name: string; namespace: string }) =>
    `${name}.${namespace}.svc.${domain}`;
  switch (row) {
    case 'ClusterIP A':
    case 'ClusterIP A, TCP':
      return known.map((service) => `${nameOf(service)} A`);
    case 'headless, 100 pods':
      return headless.map((service) => `${nameOf(service)} A`);
    case 'SRV':
      return known.map((service) => `_http._tcp.${nameOf(service)} SRV`);
    case 'NXDOMAIN, search':
      return externalNames().flatMap((name) =>
        searchDomains.flatMap((search) => [`${name}.${search} A`, `${name}.${search} AAAA`]),
      );
    case 'PTR':
      return known.map(({ ip }) => `${reversed(ip)}.in-addr.arpa PTR`);
    case 'external, kept':
      return externalNames().map((name) => `${name} A`);
    default:
      return mix(count);
  }
}

/** What pods ask: both families at once, through the search domains, now and then something else. */
function mix(count: number): string[] {
  const take = (row: Row, share: number) => {
    const all = shuffled(questionsOf(row, count));
    return Array.from({ length: share * 200 }, (_, index) => all[index % all.length]!);
  };
  const cluster = take('ClusterIP A', 30);
  return [
    ...cluster,
    ...cluster.map((question) => `${question}AAA`),
    ...take('NXDOMAIN, search', 25),
    ...take('SRV', 4),
    ...take('PTR', 3),
    ...take('external, kept', 7),
    ...take('headless, 100 pods', 1),
  ];
}

/** Fisher and Yates with a fixed linear congruential generator: every run asks the same. */
function shuffled(items: readonly string[]): string[] {
  const result = [...items];
  let state = 1;
  for (let last = result.length - 1; last > 0; last -= 1) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor((state / 2 ** 32) * (last + 1));
    [result[last], result[other]] = [result[other]!, result[last]!];
  }
  return result;
}
