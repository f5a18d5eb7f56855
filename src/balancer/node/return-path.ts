/**
 * The way back of what came through the balancer host with its client's own address: by the balancer
 * again, which alone knows what the client called it. A node would send the answer straight to the
 * client, who waits for it from another address. So connections that arrive from the balancer are
 * marked, and answers of marked ones ask a routing table whose only way is the balancer.
 */
import {
  addChain,
  addRule,
  addTable,
  CT_STATE,
  deleteTable,
  NftConnection,
  PRIORITY,
  registerAt,
  sameExpressions,
  type Expression,
  type Transaction,
} from '../../kernel/nftables/index.ts';
import { macBytes } from '../../kernel/route/mac.ts';
import { addRoutingRule, replaceRoute, RouteConnection } from '../../kernel/route/index.ts';
import { assert, messageOf } from '../../lib/errors.ts';
import type { Logger } from '../../lib/log.ts';
import { familyOf } from '../../lib/ip.ts';

export type ReturnPath = {
  /** The node's link that the balancer is on. */
  readonly link: string;
  /** The balancer's link-layer address. */
  readonly mac: string;
  /** Its addresses, one per family. */
  readonly ips: readonly string[];
};

const table = { family: 'inet', table: 'fairlead-return' } as const;
/** A bit of connection and packet mark that neither kube-proxy (0x4000, 0x8000) nor others use. */
const MARK = 0x2_0000;
/** Number of the routing table, and priority of the rule that leads there: before main (32766). */
const ROUTING_TABLE = 0xfa1e;
const RULE_PRIORITY = 64;
/** Where the sender stands in an Ethernet header (IEEE 802.3). */
const SENDER = { base: 'link', offset: 6, length: 6 } as const;
const CT_REPLY = 1;

const chains = [
  { name: 'prerouting', type: 'filter', hook: 'prerouting' },
  // `route`: the way of a packet made here is looked up again when its mark has changed.
  { name: 'output', type: 'route', hook: 'output' },
] as const;

/** How soon a flush by somebody else is noticed. */
const lookMs = 800;

/** Keeps the way back in place, on the calling thread's network; the result ends that, and it stays. */
export function keepReturnPath(path: ReturnPath, log: Logger): () => void {
  const connection = new NftConnection();
  let generation: number | undefined;
  const look = () => {
    try {
      if (connection.generation().id === generation) return;
      const mended = ensureReturnPath(path, connection);
      if (mended) log.info('answers to the balancer are led back to it');
      generation = connection.generation().id;
    } catch (error) {
      log.error({ error: messageOf(error) }, 'cannot lead answers back to the balancer');
    }
  };
  look();
  const timer = setInterval(look, lookMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    connection[Symbol.dispose]();
  };
}

/** Makes it right if it is not, on the calling thread's network; says whether anything was written. */
function ensureReturnPath(path: ReturnPath, connection: NftConnection): boolean {
  const rules = rulesOf(path);
  if (isSound(rules, connection)) return false;
  routeBack(path);
  connection.apply(transactionFor(rules), { tried: 'lead answers back to the balancer' });
  return true;
}

type Rules = ReadonlyMap<string, readonly (readonly Expression[])[]>;

function rulesOf({ mac }: ReturnPath): Rules {
  return new Map([
    ['prerouting', [markConnections(mac), markAnswers()]],
    ['output', [markAnswers()]],
  ]);
}

function isSound(rules: Rules, connection: NftConnection): boolean {
  const present = connection.tables(table.family).some(({ name }) => name === table.table);
  if (!present) return false;
  const found = Map.groupBy(connection.rules(table), ({ chain }) => chain);
  return [...rules].every(([chain, wanted]) => {
    const have = found.get(chain) ?? [];
    return (
      have.length === wanted.length &&
      have.every((rule, at) => sameExpressions(rule.expressions, wanted[at]!))
    );
  });
}

/** Anew as a whole: it is small, and connections keep their marks. */
function transactionFor(rules: Rules): Transaction {
  const name = { family: table.family, name: table.table };
  return [
    addTable(name),
    deleteTable(name),
    addTable(name),
    ...chains.map(({ name: chain, type, hook }) =>
      addChain({ ...table, name: chain, base: { type, hook, priority: PRIORITY.mangle } }),
    ),
    ...[...rules].flatMap(([chain, list]) =>
      list.map((expressions) => addRule({ ...table, chain, expressions })),
    ),
  ];
}

function routeBack({ link, ips }: ReturnPath): void {
  using connection = new RouteConnection();
  const linkIndex = connection.link(link)?.index;
  assert(linkIndex !== undefined, `the node has link "${link}"`);
  for (const via of ips) {
    const family = familyOf(via)!;
    const destination = family === 'ipv4' ? '0.0.0.0/0' : '::/0';
    connection.apply(
      replaceRoute({ destination, linkIndex, via, table: ROUTING_TABLE }),
      `route answers to the balancer ${via}`,
    );
    const select = { mark: MARK, mask: MARK, table: ROUTING_TABLE, priority: RULE_PRIORITY };
    connection.ensure(addRoutingRule({ family, ...select }), 'route answers by their mark');
  }
}

/** `ether saddr <mac> ct state new ct mark set ct mark | MARK` */
function markConnections(mac: string): Expression[] {
  return [
    { kind: 'payload', ...SENDER, dreg: registerAt(0) },
    { kind: 'cmp', op: 'eq', sreg: registerAt(0), data: macBytes(mac) },
    { kind: 'ct', key: 'state', dreg: registerAt(0) },
    mask(CT_STATE.new, 0),
    { kind: 'cmp', op: 'neq', sreg: registerAt(0), data: word(0) },
    { kind: 'ct', key: 'mark', dreg: registerAt(0) },
    mask(~MARK, MARK),
    { kind: 'ct', key: 'mark', sreg: registerAt(0) },
  ];
}

/** `ct direction reply ct mark & MARK != 0 meta mark set meta mark | MARK` */
function markAnswers(): Expression[] {
  return [
    { kind: 'ct', key: 'direction', dreg: registerAt(0) },
    { kind: 'cmp', op: 'eq', sreg: registerAt(0), data: Uint8Array.of(CT_REPLY) },
    { kind: 'ct', key: 'mark', dreg: registerAt(0) },
    mask(MARK, 0),
    { kind: 'cmp', op: 'neq', sreg: registerAt(0), data: word(0) },
    { kind: 'meta', key: 'mark', dreg: registerAt(0) },
    mask(~MARK, MARK),
    { kind: 'meta', key: 'mark', sreg: registerAt(0) },
  ];
}

function mask(keep: number, set: number): Expression {
  const register = registerAt(0);
  return {
    kind: 'bitwise',
    op: 'mask',
    sreg: register,
    dreg: register,
    length: 4,
    mask: word(keep),
    xor: word(set),
  };
}

/** In the order of the machine, as the kernel keeps marks and states. */
function word(value: number): Uint8Array {
  return new Uint8Array(Uint32Array.of(value).buffer);
}
