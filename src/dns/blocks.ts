/** A server block at work: its stages, made from its settings, and what they share. */
import type { Client } from '../client/client.ts';
import type { Clock } from '../lib/clock.ts';
import type { Logger } from '../lib/log.ts';
import type { KubernetesSettings, ServerBlock } from './config/types.ts';
import type { DnsCounters } from './counters.ts';
import { startFeed } from './feed.ts';
import { dnsLimits } from './limits.ts';
import { ownAddresses } from './own-addresses.ts';
import { CacheStage } from './plugins/cache.ts';
import { ForwardStage } from './plugins/forward.ts';
import { KubernetesStage } from './plugins/kubernetes.ts';
import { loadbalanceStage } from './plugins/loadbalance.ts';
import { LoopStage } from './plugins/loop.ts';
import { chainOf, type Next, type Stage } from './stage.ts';
import { AnswerTemplates } from './template.ts';
import { UpstreamPool } from './upstream/pool.ts';
import { ZoneData } from './zone/zone-data.ts';
import { createZones, type Zones } from './zone/zones.ts';

/** What the stages of all blocks share with the world. */
export type World = {
  readonly clientFor: (settings: KubernetesSettings) => Client;
  readonly counters: DnsCounters;
  readonly clock: Clock;
  readonly random: () => number;
  readonly log: Logger | undefined;
};

export type Block = {
  readonly settings: ServerBlock;
  readonly stages: readonly Stage[];
  readonly chain: Next;
  /** Settles when what the stages answer from is there. */
  readonly synced: Promise<void>;
  /** Absent: every question has to go through the chain. */
  readonly plain: Plain | undefined;
};

/**
 * Where nothing before the cluster's zones changes a question or looks at its sender, and nothing but
 * the order of addresses changes an answer, equal questions have equal answers: encoded ones are kept.
 */
export type Plain = { readonly zones: Zones; readonly templates: AnswerTemplates };

/** Makes the stages in the order in which CoreDNS asks them, whatever the order in the file. */
export async function makeBlock(settings: ServerBlock, world: World): Promise<Block> {
  const { plugins } = settings;
  const outer: Stage[] = [];
  if (plugins.loadbalance !== undefined) outer.push(loadbalanceStage(world));
  const kubernetes = kubernetesStage(settings, world);
  const outside = outsideStages(settings, world);
  const stages = [...outer, ...(kubernetes === undefined ? [] : [kubernetes]), ...outside];
  return {
    settings,
    stages,
    chain: chainOf(stages),
    synced: kubernetes?.synced ?? Promise.resolve(),
    plain: kubernetes === undefined ? undefined : plainOf(kubernetes.zones, settings, world),
  };
}

function plainOf(zones: Zones, { plugins }: ServerBlock, { random }: World): Plain {
  // The upper end of the range leaves every record in its place.
  const order = plugins.loadbalance === undefined ? () => 1 - Number.EPSILON : random;
  return { zones, templates: new AnswerTemplates({ max: dnsLimits.answersMax, random: order }) };
}

function kubernetesStage(block: ServerBlock, world: World): KubernetesStage | undefined {
  const settings = block.plugins.kubernetes;
  if (settings === undefined) return undefined;
  const { clock, counters, log } = world;
  const data = new ZoneData(() => clock.now());
  const zones = createZones(data, {
    ...settings,
    localAddresses: () => ownAddresses(block.sites),
  });
  const client = world.clientFor(settings);
  const watchPods = settings.podRecords === 'verified';
  const feed = startFeed({ client, data, watchPods, counters, clock, log });
  void feed.synced.then(() => log?.info(data.counts, 'synced'));
  return new KubernetesStage({ settings, zones, feed });
}

/** The cache stands right before the servers it saves from being asked: our own names need none. */
function outsideStages({ plugins }: ServerBlock, world: World): Stage[] {
  const { clock, log } = world;
  const stages: Stage[] = (plugins.forward ?? []).map((settings) => {
    return new ForwardStage(settings, new UpstreamPool({ ...settings, clock }), log);
  });
  if (stages.length === 0) return [];
  if (plugins.cache !== undefined) stages.unshift(new CacheStage(world));
  if (plugins.loop !== undefined) {
    stages.unshift(new LoopStage({ ...plugins.loop, ask: chainOf(stages), clock, log }));
  }
  return stages;
}
