/** A random cluster as DNS sees it: Namespaces, Services of every kind, odd EndpointSlices, Pods. */
import type { KubeObject } from '../../../src/api/meta.ts';
import { resources, type Resource } from '../../../src/api/resources.ts';
import type { Random } from '../../support/random.ts';

export type WorldObject = { readonly resource: Resource; readonly object: KubeObject };

export type World = {
  readonly objects: readonly WorldObject[];
  /** Every label and address that stands somewhere in it: what questions are made of. */
  readonly labels: readonly string[];
  readonly addresses: readonly string[];
};

type Loose = Record<string, unknown>;

/** Some are words of the grammar itself, which must not confuse it. */
const namespaceNames = ['default', 'shop', 'svc', 'pod', 'dns', 'n-1'];
const serviceNames = ['web', 'db', 'api', 'svc', 'pod', 'ns', 'dns', 'tcp', 'x-1', 'kube-dns'];
const portNames = ['http', 'dns', 'dns-tcp', 'tcp', 'x'];
const protocols = ['TCP', 'UDP', 'SCTP'];
const hostNames = ['db-0', 'db-1', 'web', 'tcp', 'a', '10-244-0-1'];
const v6Parts = ['::1', '::', ':1::', ':0:1::2', '::a:0:0:1', ':1:2:3:4:5:6'];

/** Ten to sixty objects; every name is one that others use too. */
export function randomWorld(random: Random): World {
  const namespaces = namespaceNames.filter((name) => name === 'default' || !random.once(5));
  const used = new UsedAddresses(random);
  const services = new Map<string, WorldObject>();
  for (const namespace of namespaces) {
    for (let count = random.below(6); count > 0; count -= 1) {
      const name = random.pick(serviceNames);
      services.set(`${namespace}/${name}`, service(random, { namespace, name }, used));
    }
  }
  const slices = random.many(random.below(25), (index) =>
    slice(random, { namespace: random.pick(namespaces), index }, used),
  );
  const pods = random.many(random.below(6), (index) =>
    pod(random, { namespace: random.pick(namespaces), name: `p-${index}` }, used),
  );
  const created = namespaces.filter((name) => name !== 'default');
  return {
    objects: [
      ...created.map((name) => at('namespaces', { metadata: { name } })),
      ...services.values(),
      ...slices,
      ...pods,
    ],
    labels: [...namespaceNames, ...serviceNames, ...portNames, ...hostNames, 'p-0', 'p-1'],
    addresses: used.all(),
  };
}

function at(kind: 'namespaces' | 'services' | 'endpointslices' | 'pods', object: Loose) {
  return { resource: resources[kind], object: object as unknown as KubeObject };
}

/** Cluster IPs are used once, endpoint addresses often more than once. */
class UsedAddresses {
  readonly #random: Random;
  readonly #clusterIps = new Set<string>();
  readonly #endpoints = new Set<string>();

  constructor(random: Random) {
    this.#random = random;
  }

  all(): string[] {
    return [...this.#clusterIps, ...this.#endpoints];
  }

  clusterIp(family: 'IPv4' | 'IPv6'): string {
    for (;;) {
      const number = 20 + this.#random.below(200);
      const ip = family === 'IPv4' ? `10.96.0.${number}` : `fd00:10:96::${number.toString(16)}`;
      if (this.#clusterIps.has(ip)) continue;
      this.#clusterIps.add(ip);
      return ip;
    }
  }

  endpoint(family: 'IPv4' | 'IPv6'): string {
    const random = this.#random;
    const ip =
      family === 'IPv4'
        ? `10.244.${random.below(2)}.${1 + random.below(12)}`
        : `2001:db8${random.pick(v6Parts)}`;
    this.#endpoints.add(ip);
    return ip;
  }
}

type Key = { readonly namespace: string; readonly name: string };

function service(random: Random, metadata: Key, used: UsedAddresses): WorldObject {
  return at('services', { metadata, spec: serviceSpec(random, metadata, used) });
}

function serviceSpec(random: Random, key: Key, used: UsedAddresses): Loose {
  const ports = randomPorts(random, { numbered: true });
  const families = random.pick([['IPv4'], ['IPv4'], ['IPv6'], ['IPv4', 'IPv6'], ['IPv6', 'IPv4']]);
  const policy = families.length === 2 ? 'RequireDualStack' : 'SingleStack';
  const stack = { ipFamilies: families, ipFamilyPolicy: policy };
  switch (random.below(8)) {
    case 0:
    case 1:
      return { type: 'ExternalName', externalName: externalName(random, key), ...some(ports) };
    case 2:
    case 3:
    case 4:
      return { clusterIP: 'None', ...stack, ...some(ports) };
    default: {
      const clusterIPs = families.map((family) => used.clusterIp(family as 'IPv4' | 'IPv6'));
      const type = random.pick(['ClusterIP', 'ClusterIP', 'NodePort', 'LoadBalancer']);
      const given = ports.length === 0 ? [{ port: 80 }] : ports;
      return { type, clusterIP: clusterIPs[0], clusterIPs, ...stack, ports: given };
    }
  }
}

function some(ports: readonly Loose[]): Loose {
  return ports.length === 0 ? {} : { ports };
}

function externalName(random: Random, key: Key): string {
  const inside = `${random.pick(serviceNames)}.${random.pick(namespaceNames)}.svc.cluster.local`;
  return random.pick([
    inside,
    inside,
    `${key.name}.${key.namespace}.svc.cluster.local`,
    `db-0.${inside}`,
    'cluster.local',
    '10-244-0-1.default.pod.cluster.local',
    'www.example.com',
    'gone.example.com',
    'broken.example.com',
    '192.0.2.7',
    'web',
  ]);
}

/** One port may have no name; names and numbers are not used twice. */
function randomPorts(random: Random, { numbered }: { numbered: boolean }): Loose[] {
  const names = portNames.filter(() => random.once(3));
  if (names.length === 0) {
    if (random.once(2)) return [];
    return [{ port: 80, protocol: random.pick(protocols) }];
  }
  return names.map((name, index) => ({
    name,
    protocol: random.pick(protocols),
    ...(numbered || !random.once(8) ? { port: 80 + index } : {}),
  }));
}

function slice(
  random: Random,
  { namespace, index }: { namespace: string; index: number },
  used: UsedAddresses,
): WorldObject {
  const addressType = random.pick(['IPv4', 'IPv4', 'IPv4', 'IPv6', 'FQDN']);
  const of = random.pick(serviceNames);
  const labels = random.once(8) ? {} : { 'kubernetes.io/service-name': of };
  const endpoints = random.many(random.below(5), () => endpoint(random, addressType, used));
  const ports = randomPorts(random, { numbered: false });
  return at('endpointslices', {
    metadata: { namespace, name: `${of}-${index}`, labels },
    addressType,
    endpoints,
    ports,
  });
}

function endpoint(random: Random, addressType: string, used: UsedAddresses): Loose {
  const address = () =>
    addressType === 'FQDN'
      ? random.pick(['www.example.com', 'web.shop.svc.cluster.local', 'gone.example.com'])
      : used.endpoint(addressType as 'IPv4' | 'IPv6');
  const addresses = random.once(6) ? [address(), address()] : [address()];
  const name = `p-${random.below(3)}`;
  const targetRef = { kind: 'Pod', name, namespace: 'default' };
  return {
    addresses: [...new Set(addresses)],
    ...random.pick<Loose>([
      { conditions: { ready: true } },
      { conditions: { ready: true, serving: true, terminating: false } },
      { conditions: { ready: false } },
      { conditions: { ready: false, serving: true, terminating: true } },
      { conditions: { serving: false, terminating: true } },
      {},
    ]),
    ...(random.once(3) ? { hostname: random.pick(hostNames) } : {}),
    ...(random.once(3) ? { targetRef } : {}),
  };
}

function pod(random: Random, metadata: Key, used: UsedAddresses): WorldObject {
  const ip = used.endpoint(random.once(4) ? 'IPv6' : 'IPv4');
  const phase = random.pick(['Running', 'Running', 'Pending', 'Succeeded', 'Failed']);
  return at('pods', {
    metadata,
    spec: { containers: [{ name: 'main', image: 'host' }] },
    status: { phase, podIP: ip, podIPs: [{ ip }] },
  });
}
