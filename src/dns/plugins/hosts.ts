/** `hosts`: names from a hosts(5) file and from the Corefile. */
import { readFileSync, statSync } from 'node:fs';

import type { Clock } from '../../lib/clock.ts';
import { messageOf } from '../../lib/errors.ts';
import { canonicalIp, familyOf, ipBytes } from '../../lib/ip.ts';
import type { Logger } from '../../lib/log.ts';
import type { HostsSettings } from '../config/types.ts';
import {
  failure,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Stage,
  type StageMetric,
} from '../stage.ts';
import { CLASS, FLAG, RCODE, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, labelsOf, nameOf, parseName, type Name } from '../wire/name.ts';
import type { World } from '../world.ts';
import { addressOfReverse } from '../zone/grammar.ts';

const stageName = 'hosts';

/** Addresses by folded name, and names by canonical address. */
type HostTable = {
  readonly addresses: ReadonlyMap<Name, readonly string[]>;
  readonly names: ReadonlyMap<string, readonly Name[]>;
};

export class HostsStage implements Stage {
  readonly name = stageName;
  readonly #settings: HostsSettings;
  readonly #clock: Clock;
  readonly #log: Logger | undefined;
  readonly #inline: HostTable;
  #table: HostTable = emptyTable;
  #version = '';
  /** When the file was changed that is in use. */
  #changedAtMs = 0;
  #changed: () => void = () => undefined;
  #cancel: (() => void) | undefined;

  constructor(settings: HostsSettings, { clock, log }: Pick<World, 'clock' | 'log'>) {
    this.#settings = settings;
    this.#clock = clock;
    this.#log = log;
    this.#inline = parseHosts(settings.inline, settings);
    this.#read();
  }

  tell(changed: () => void): void {
    this.#changed = changed;
  }

  metrics(): readonly StageMetric[] {
    const tables = [this.#table, this.#inline];
    const lists = tables.flatMap(({ addresses, names }) => [
      ...addresses.values(),
      ...names.values(),
    ]);
    return [
      {
        name: 'coredns_hosts_entries',
        help: 'Names and addresses known',
        kind: 'gauge',
        labels: { hostsfile: this.#settings.path },
        value: lists.reduce((sum, { length }) => sum + length, 0),
      },
      {
        name: 'coredns_hosts_reload_timestamp_seconds',
        help: 'When the hosts file in use was changed',
        kind: 'gauge',
        labels: {},
        value: this.#changedAtMs / 1000,
      },
    ];
  }

  start(): void {
    if (this.#settings.reloadMs === 0) return;
    this.#cancel = this.#clock.after(this.#settings.reloadMs, () => {
      this.#read();
      this.start();
    });
  }

  stop(): void {
    this.#cancel?.();
  }

  answer(ask: Ask, next: Next): Answered {
    const { name, type } = ask.query.question;
    const folded = foldCase(name);
    const { zones, fallthroughUnsupported } = this.#settings;
    if (type === TYPE.PTR) {
      // Names of addresses are in no zone: what is not here goes on in any case.
      const names = this.#namesAt(folded);
      return names.length === 0 ? next(ask) : this.#found(name, TYPE.PTR, names);
    }
    if (!zones.some((zone) => isWithin(folded, zone))) return next(ask);
    const isAddress = type === TYPE.A || type === TYPE.AAAA;
    if (!isAddress && fallthroughUnsupported && this.#fallsThrough(folded)) return next(ask);
    const all = this.#addressesOf(folded);
    if (all.length === 0) {
      // There is no SOA for a denial: a failure says at least that something is wrong.
      return this.#fallsThrough(folded) ? next(ask) : failure(RCODE.SERVFAIL, this.#source());
    }
    const family = type === TYPE.A ? 'ipv4' : 'ipv6';
    const found = isAddress ? all.filter((address) => familyOf(address) === family) : [];
    return this.#found(name, type, found);
  }

  #fallsThrough(folded: Name): boolean {
    return this.#settings.fallthrough.some((zone) => isWithin(folded, zone));
  }

  /** Those of the file first; a name that stands for all below it counts where no other does. */
  #addressesOf(folded: Name): readonly string[] {
    const star = nameOf(['*', ...labelsOf(folded).slice(1)]);
    return [this.#table, this.#inline].flatMap(({ addresses }) => {
      return addresses.get(folded) ?? (star === undefined ? [] : (addresses.get(star) ?? []));
    });
  }

  #namesAt(folded: Name): readonly Name[] {
    const address = addressOfReverse(folded);
    if (address === undefined) return [];
    return [this.#table, this.#inline].flatMap(({ names }) => names.get(address) ?? []);
  }

  #found(name: Name, type: number, values: readonly string[]): Answer {
    const ttl = this.#settings.ttlSeconds;
    const answers = values.map((value): ResourceRecord => {
      const data = type === TYPE.PTR ? value : ipBytes(value);
      return { name, type, class: CLASS.IN, ttl, data: [data] };
    });
    const rest = { authorities: [], additionals: [], sources: [this.#source()] };
    return { flags: FLAG.AA, answers, ...rest };
  }

  #source() {
    return { stage: stageName, detail: () => this.#settings.path };
  }

  /** A file that cannot be read leaves what was known. */
  #read(): void {
    const { path } = this.#settings;
    try {
      this.#takeIn();
    } catch (error) {
      this.#log?.error({ file: path, error: messageOf(error) }, 'hosts are not read');
    }
  }

  /** Takes the file in if it is there and changed. */
  #takeIn(): void {
    const stat = statSync(this.#settings.path, { throwIfNoEntry: false });
    if (stat === undefined || stat.isDirectory()) return;
    const version = `${stat.mtimeMs} ${stat.size} ${stat.ino}`;
    if (version === this.#version) return;
    const lines = readFileSync(this.#settings.path, 'utf8').split('\n');
    this.#version = version;
    this.#changedAtMs = stat.mtimeMs;
    this.#table = parseHosts(lines, this.#settings);
    this.#changed();
  }
}

const emptyTable: HostTable = { addresses: new Map(), names: new Map() };

function parseHosts(lines: readonly string[], settings: HostsSettings): HostTable {
  const addresses = new Map<Name, string[]>();
  const names = new Map<string, Name[]>();
  for (const line of lines) {
    const [text = '', ...hosts] = line.replace(/#.*/, '').trim().split(/\s+/);
    const address = canonicalIp(text.replace(/%.*/, ''));
    if (address === undefined) continue;
    for (const host of hosts) {
      const parsed = parseName(host);
      const name = parsed === undefined ? undefined : foldCase(parsed);
      if (name === undefined || !settings.zones.some((zone) => isWithin(name, zone))) continue;
      addTo(addresses, name, address);
      if (settings.reverse && !name.startsWith('\x01*')) addTo(names, address, name);
    }
  }
  return { addresses, names };
}

function addTo<K, V>(map: Map<K, V[]>, key: K, value: V): void {
  const values = map.get(key);
  if (values === undefined) map.set(key, [value]);
  else values.push(value);
}
