/** `kubernetes`: the zones of the cluster, answered from the watch. */
import type { KubernetesSettings, Site } from '../config/types.ts';
import { startFeed, type Feed } from '../feed.ts';
import { ownAddresses } from '../own-addresses.ts';
import {
  failure,
  follow,
  whenDone,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Source,
  type Stage,
} from '../stage.ts';
import { FLAG, RCODE, rcodeOf, type ResourceRecord } from '../wire/message.ts';
import { foldCase, formatName, isWithin, under, type Name } from '../wire/name.ts';
import { lookup, type Lookup } from '../zone/lookup.ts';
import { soaRecord } from '../zone/records.ts';
import { zoneRecords } from '../zone/transfer.ts';
import type { World } from '../world.ts';
import { ZoneData } from '../zone/zone-data.ts';
import { createZones, type PodRecords, type Zones } from '../zone/zones.ts';
import { plainAddress } from './acl.ts';
import { spelled } from './forward.ts';

/** Starts to follow the API, and answers from what it has seen. */
export async function makeKubernetes(
  settings: KubernetesSettings,
  sites: readonly Site[],
  world: World,
): Promise<KubernetesStage> {
  const { clock, counters, log } = world;
  const { zones: all, multicluster = [] } = settings;
  const localAddresses = () => ownAddresses(sites);
  const data = new ZoneData(() => clock.now());
  const owned = all.filter((zone) => !multicluster.includes(zone));
  const zones = [createZones(data, { ...settings, owned, localAddresses })];
  const imports = multicluster.length === 0 ? undefined : new ZoneData(() => clock.now());
  if (imports !== undefined) {
    const more = { owned: multicluster, isMulticluster: true, localAddresses };
    zones.push(createZones(imports, { ...settings, ...more }));
  }
  const client = await world.clientFor(settings.api, (facts) => counters.api.requested(facts));
  const watchPods = settings.podRecords === 'verified';
  const feed = startFeed({ client, data, imports, settings, watchPods, counters, clock, log });
  void feed.synced.then(() => log?.info(data.counts, 'synced'));
  return new KubernetesStage({ settings, zones, feed, hostSearch: world.hostSearch });
}

export class KubernetesStage implements Stage {
  readonly name = 'kubernetes';
  readonly #zones: readonly Zones[];
  readonly #podRecords: PodRecords;
  /** What the node's own search list adds to a pod's. */
  readonly #hostSearch: readonly Name[];
  #fallthrough: readonly Name[];
  readonly #feed: Feed;

  constructor(options: {
    readonly settings: KubernetesSettings;
    readonly zones: readonly Zones[];
    readonly feed: Feed;
    readonly hostSearch?: readonly Name[];
  }) {
    this.#podRecords = options.settings.podRecords;
    this.#hostSearch = options.hostSearch ?? [];
    this.#zones = options.zones;
    this.#fallthrough = options.settings.fallthrough;
    this.#feed = options.feed;
  }

  /** The zones where all share the same data. */
  get onlyZones(): Zones | undefined {
    return this.#zones.length === 1 ? this.#zones[0] : undefined;
  }

  /** No stage stands behind this one that could know a missing name. */
  isLast(): void {
    this.#fallthrough = [];
  }

  get synced(): Promise<void> {
    return this.#feed.synced;
  }

  /** The search list of the pod that asks, as its kubelet wrote it; needs `pods verified` (D103). */
  searchOf({ query, from }: Ask): readonly Name[] | undefined {
    if (this.#podRecords !== 'verified') return undefined;
    const folded = foldCase(query.question.name);
    const zones = this.#zones.find(({ owned }) => owned.some(({ name }) => isWithin(folded, name)));
    const namespace = zones?.data.namespaceAt(plainAddress(from.address));
    if (zones === undefined || namespace === undefined) return undefined;
    const zone = zones.owned.find(({ name }) => isWithin(folded, name))!.name;
    const services = under('svc', zone);
    return [under(namespace, services), services, zone, ...this.#hostSearch];
  }

  /** All records of one of its zones; only the SOA for whoever has that serial (D40f). */
  transfer(zone: Name, serial: number | undefined): ResourceRecord[] | undefined {
    const zones = this.#zones.find(({ owned }) => owned.some(({ name }) => name === zone));
    if (zones === undefined) return undefined;
    const isCurrent = serial !== undefined && serial !== 0 && serial === zones.data.serial;
    return isCurrent ? [soaRecord(zones, zone)] : zoneRecords(zones, zone);
  }

  isReady(): boolean {
    return this.#feed.hasSynced();
  }

  stop(): void {
    this.#feed.stop();
  }

  answer(ask: Ask, next: Next): Answered {
    const { question } = ask.query;
    const folded = foldCase(question.name);
    const zones = this.#zones.find(({ owned }) => owned.some(({ name }) => isWithin(folded, name)));
    const found = zones && lookup(zones, question);
    if (found === undefined) return next(ask);
    const { outcome } = found;
    // A missing name may be known to others, synced or not (D57, D61).
    if (outcome.kind === 'missing' && this.#fallsThrough(question.name)) return next(ask);
    if (outcome.kind === 'refused') return failure(RCODE.REFUSED, { stage: this.name });
    if (outcome.kind === 'alias') return this.#alias(ask, outcome.answers, outcome.target);
    return this.#inside(zones!, found, sourceOf(question.name));
  }

  #fallsThrough(name: Name): boolean {
    if (this.#fallthrough.length === 0) return false;
    const folded = foldCase(name);
    return this.#fallthrough.some((zone) => isWithin(folded, zone));
  }

  #inside(zones: Zones, { outcome, zone }: Lookup, source: Source): Answer {
    const sources = [source];
    if (outcome.kind === 'records') {
      const { answers, additionals } = outcome;
      return { flags: FLAG.AA, answers, authorities: [], additionals, sources };
    }
    const denial = this.#feed.hasSynced() ? RCODE.NXDOMAIN : RCODE.SERVFAIL;
    const rcode = outcome.kind === 'missing' ? denial : RCODE.NOERROR;
    const authorities = [soaRecord(zones, zone)];
    return { flags: FLAG.AA | rcode, answers: [], authorities, additionals: [], sources };
  }

  /** An alias to a name outside: what is found there follows it; a failure does not (D44). */
  #alias(ask: Ask, aliases: readonly ResourceRecord[], target: Name): Answered {
    const { query } = ask;
    const source = sourceOf(query.question.name);
    const finish = (found: Answer): Answer => {
      const good = rcodeOf(found) === RCODE.NOERROR;
      return {
        flags: FLAG.AA | (found.flags & FLAG.TC),
        answers: good ? [...aliases, ...spelled(found.answers, target)] : aliases,
        authorities: [],
        additionals: [],
        sources: [source, ...found.sources],
      };
    };
    const question = { ...query.question, name: target };
    return whenDone(follow(ask, question, query.flags | FLAG.RD), finish);
  }
}

function sourceOf(name: Name): Source {
  return { stage: 'kubernetes', detail: () => formatName(name) };
}
