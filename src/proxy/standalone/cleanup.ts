/** Removes the rules of service proxies from the kernel (P133): ours, and those of kube-proxy. */
import {
  deleteChain,
  deleteRule,
  deleteTable,
  flushChain,
  NftConnection,
  type Rule,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import { deleteLink, RouteConnection } from '../../kernel/route/index.ts';
import { tableOf } from '../nftables/layout.ts';

/** kube-proxy's own table in nftables mode. */
const KUBE_PROXY_TABLE = 'kube-proxy';
const FAMILIES = ['ip', 'ip6'] as const;
/** Tables of iptables-nft that kube-proxy's iptables and ipvs modes write to. */
const IPTABLES_TABLES = ['nat', 'filter', 'mangle'];

/** Chains of kube-proxy's iptables and ipvs modes; KUBE-FIREWALL and others are kubelet's as well. */
const KUBE_PROXY_CHAIN =
  /^KUBE-(?:SERVICES|EXTERNAL-SERVICES|NODEPORTS|NODE-PORT|POSTROUTING|MARK-MASQ|FORWARD|PROXY-FIREWALL|PROXY-CANARY|LOAD-BALANCER|SOURCE-RANGES-FIREWALL|IPVS-FILTER|IPVS-OUT-FILTER|(?:SVC|SVL|FW|EXT|SEP)-[A-Z2-7]{16})$/;

/** The link on which mode ipvs keeps every address of a Service, so that the node takes them for its own. */
const IPVS_LINK = 'kube-ipvs0';

/** Whose rules: `own` are ours, `kubeProxy` those of every mode of kube-proxy. */
export type CleanupScope = 'own' | 'kubeProxy';

/** Removes them; returns what was there, such as `table ip fairlead`. Nothing there is no error. */
export function cleanUp(scopes: readonly CleanupScope[]): string[] {
  using connection = new NftConnection();
  const names = [
    ...(scopes.includes('own') ? [tableOf('ipv4').table] : []),
    ...(scopes.includes('kubeProxy') ? [KUBE_PROXY_TABLE] : []),
  ];
  const removed: string[] = [];
  const present = connection.tables();
  for (const family of FAMILIES) {
    const tables = present.filter((one) => one.family === family && names.includes(one.name));
    for (const { name } of tables) {
      connection.apply([deleteTable({ family, name })], { tried: `delete table "${name}"` });
      removed.push(`table ${family} ${name}`);
    }
    if (scopes.includes('kubeProxy')) removed.push(...cleanIptables(connection, family));
  }
  if (scopes.includes('kubeProxy')) removed.push(...cleanIpvs());
  return removed;
}

/** Without the link its virtual servers see no packet any more. */
function cleanIpvs(): string[] {
  using routes = new RouteConnection();
  if (routes.link(IPVS_LINK) === undefined) return [];
  routes.ensure(deleteLink(IPVS_LINK), `delete link "${IPVS_LINK}"`);
  return [`link ${IPVS_LINK}`];
}

function cleanIptables(connection: NftConnection, family: 'ip' | 'ip6'): string[] {
  return IPTABLES_TABLES.flatMap((table) => {
    const chains = connection.chains({ family, table }).map(({ name }) => name);
    const ours = chains.filter((name) => KUBE_PROXY_CHAIN.test(name));
    if (ours.length === 0) return [];
    const jumps = connection
      .rules({ family, table })
      .filter((rule) => !KUBE_PROXY_CHAIN.test(rule.chain) && jumpsTo(rule, ours));
    const transaction: Transaction = [
      ...jumps.map((rule) => deleteRule(rule, rule.handle ?? 0n)),
      // Emptied first: they lead to each other.
      ...ours.map((chain) => flushChain({ family, table, chain })),
      ...ours.map((name) => deleteChain({ family, table, name })),
    ];
    connection.apply(transaction, { tried: `remove kube-proxy's chains from table "${table}"` });
    return [`${ours.length} of kube-proxy's chains from table ${family} ${table}`];
  });
}

function jumpsTo({ expressions }: Rule, chains: readonly string[]): boolean {
  return expressions.some(
    (one) => one.kind === 'verdict' && 'chain' in one.verdict && chains.includes(one.verdict.chain),
  );
}
