/** A Corefile with most plugins and questions to it, the same for CoreDNS and for us, and what both then print. */
import { setTimeout as sleep } from 'node:timers/promises';

import * as packet from 'dns-packet';

import { exchange, question, type Asked } from '../dns-harness.ts';

/** What CoreDNS 1.14.7 printed; `tools/record/coredns-metrics.ts` wrote it. */
export const metricsGoldenFile = 'test/golden/coredns-metrics.txt';

export const metricsPorts = { dns: 5391, outside: 5392, health: 18_391, metrics: 19_391 } as const;

type Where = {
  readonly api: string;
  readonly tls: readonly string[];
  readonly hosts: string;
  readonly resolv: string;
  readonly plain?: boolean;
};

function unequal(resolv: string): string {
  return `acl blocked.test {
       block
    }
    autopath gone.test ${resolv}`;
}

/**
 * kubeadm's without `loop`, which asks a question of its own, and with plugins that have metrics of their
 * own; `plain`: without those that look at who asks, so that answers are kept.
 */
export function metricsCorefile({ api, tls, hosts, resolv, plain = false }: Where): string {
  const { dns, outside, health, metrics } = metricsPorts;
  return `.:${dns} {
    errors
    health 127.0.0.1:${health} {
       lameduck 1s
    }
    ${plain ? '' : unequal(resolv)}
    template IN A templ.test {
       answer "{{ .Name }} 60 IN A 192.0.2.1"
    }
    hosts ${hosts} {
       192.0.2.2 a.hosts.test
       fallthrough
    }
    kubernetes cluster.local in-addr.arpa ip6.arpa {
       endpoint ${api}
       tls ${tls.join(' ')}
       pods insecure
       fallthrough in-addr.arpa ip6.arpa
       ttl 30
    }
    prometheus 127.0.0.1:${metrics}
    forward . 127.0.0.1:${outside} {
       max_concurrent 1000
    }
    cache 30
    reload
    loadbalance
}
.:${outside} {
    template IN A outside.test {
       answer "{{ .Name }} 60 IN A 192.0.2.9"
    }
    template IN ANY . {
       rcode NXDOMAIN
    }
}
`;
}

type Step = {
  readonly ask: string;
  readonly host?: string;
  readonly tcp?: boolean;
  readonly dnssecOk?: boolean;
};

const web = 'web.ns.svc.cluster.local';

/** Each kind of question once or twice, over both families and transports. */
export const metricsSteps: readonly Step[] = [
  { ask: `${web} A` },
  { ask: `${web} A` },
  { ask: `${web} A`, tcp: true },
  { ask: `${web} A`, host: '::1' },
  { ask: `${web} A`, host: '::1', tcp: true },
  { ask: `${web} A`, dnssecOk: true },
  { ask: `${web} AAAA` },
  { ask: `gone.ns.svc.cluster.local A` },
  { ask: `${web} SRV` },
  { ask: 'a.hosts.test A' },
  { ask: 'c.gone.test A' },
  { ask: 'b.templ.test A' },
  { ask: 'www.blocked.test A' },
  { ask: 'www.outside.test A' },
  { ask: 'www.outside.test A' },
  { ask: 'www.outside.test TXT', host: '::1', tcp: true },
  ...['NS', 'CNAME', 'SOA', 'PTR', 'MX', 'DS', 'RRSIG', 'NSEC', 'DNSKEY', 'NSEC3', 'ANY'].map(
    (type) => ({ ask: `www.outside.test ${type}` }),
  ),
  ...['CAA', 'NAPTR', 'HINFO', 'UNKNOWN_65', 'UNKNOWN_999'].map((type) => ({
    ask: `www.outside.test ${type}`,
  })),
];

/** Asks all of them and waits for each reply. */
export async function askAll(port: number): Promise<void> {
  for (const step of metricsSteps) {
    const { ask, host = '127.0.0.1', tcp = false, dnssecOk = false } = step;
    const at: Asked = { host, port };
    const reply = await exchange(at, question(ask, dnssecOk ? withDo : {}), { tcp });
    if (reply === undefined) throw new Error(`no reply to ${ask}`);
  }
}

const withDo: packet.Packet = {
  additionals: [
    {
      type: 'OPT',
      name: '.',
      udpPayloadSize: 1232,
      extendedRcode: 0,
      ednsVersion: 0,
      flags: packet.DNSSEC_OK,
      flag_do: true,
      options: [],
    },
  ],
};

/** The page once a probe of /health was counted, without help, in a steady order. */
export async function metricsPageText(): Promise<string> {
  await (await fetch(`http://127.0.0.1:${metricsPorts.health}/health`)).text();
  await sleep(1100);
  const page = await (await fetch(`http://127.0.0.1:${metricsPorts.metrics}/metrics`)).text();
  const lines = page.split('\n').filter((line) => /^(# TYPE )?coredns_/.test(line));
  return `${lines.join('\n')}\n`;
}

export type Sample = {
  readonly name: string;
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
};

export type Parsed = {
  readonly types: ReadonlyMap<string, string>;
  readonly samples: readonly Sample[];
};

/** Reads the text format of Prometheus. */
export function parseMetrics(text: string): Parsed {
  const types = new Map<string, string>();
  const samples: Sample[] = [];
  for (const line of text.split('\n')) {
    const [, typed, type] = /^# TYPE (\S+) (\S+)$/.exec(line) ?? [];
    if (typed !== undefined && type !== undefined) types.set(typed, type);
    const [, name, labels = '', value] = /^(\w+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (name === undefined) continue;
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(([, key, of]) => [key!, of!]);
    samples.push({ name, labels: Object.fromEntries(pairs), value: Number(value) });
  }
  return { types, samples };
}
