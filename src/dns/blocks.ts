/** A server block at work: its stages, made from its settings, and what they share. */
import type { ServerBlock } from './config/types.ts';
import { AnswerKeeper } from './kept/keeper.ts';
import { withoutSelf } from './own-addresses.ts';
import { CacheStage } from './plugins/cache.ts';
import { ForwardStage } from './plugins/forward.ts';
import { KubernetesStage, makeKubernetes } from './plugins/kubernetes.ts';
import { loadbalanceStage } from './plugins/loadbalance.ts';
import { LoopStage } from './plugins/loop.ts';
import { chainOf, type Next, type Stage } from './stage.ts';
import type { MessageCache } from './upstream/message-cache.ts';
import { UpstreamPool } from './upstream/pool.ts';
import type { World } from './world.ts';
import type { ZoneData } from './zone/zone-data.ts';

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
 * Where nothing changes a question or looks at its sender, and nothing but the order of addresses
 * changes an answer, equal questions have equal answers: encoded ones are kept.
 */
export type Plain = {
  readonly keeper: AnswerKeeper;
  /** What answers of the watch are made from. */
  readonly data: ZoneData | undefined;
  /** Where kept answers of other servers are counted. */
  readonly cache: MessageCache | undefined;
  /** Whether addresses change places. */
  readonly shuffles: boolean;
};

/** Makes the stages in the order in which CoreDNS asks them, whatever the order in the file. */
export async function makeBlock(settings: ServerBlock, world: World): Promise<Block> {
  const { plugins } = settings;
  const outer: Stage[] = [];
  if (plugins.loadbalance !== undefined) outer.push(loadbalanceStage(world));
  const outside = outsideStages(settings, world);
  const kubernetes =
    plugins.kubernetes && makeKubernetes(plugins.kubernetes, settings.sites, world);
  const inner = kubernetes === undefined ? [] : [kubernetes];
  // What nobody else can know does not exist.
  if (outside.length === 0) kubernetes?.isLast();
  const stages = [...outer, ...cached(inner, outside, settings, world)];
  return {
    settings,
    stages,
    chain: chainOf(stages),
    synced: kubernetes?.synced ?? Promise.resolve(),
    plain: plainOf(settings, stages, world),
  };
}

/**
 * The cache stands right before the servers it saves from being asked: what answers from memory needs
 * none, and is never out of date. CoreDNS has it before all of them.
 */
function cached(
  inner: readonly Stage[],
  outside: readonly Stage[],
  { plugins }: ServerBlock,
  { clock }: World,
): readonly Stage[] {
  if (plugins.cache === undefined) return [...inner, ...outside];
  const strict = plugins.kubernetes?.strictCoredns === true;
  const cache = new CacheStage(plugins.cache, { clock, merges: !strict });
  if (strict) return [cache, ...inner, ...outside];
  return [...inner, ...withCache(cache, outside)];
}

/** Behind `loop`: a question that came round must not be joined to the one on its way. */
function withCache(cache: Stage, outside: readonly Stage[]): readonly Stage[] {
  const at = outside[0]?.name === 'loop' ? 1 : 0;
  return outside.length === 0 ? [] : outside.toSpliced(at, 0, cache);
}

function plainOf(
  { plugins }: ServerBlock,
  stages: readonly Stage[],
  { clock }: World,
): Plain | undefined {
  const kubernetes = stages.findIndex((stage) => stage instanceof KubernetesStage);
  const cache = stages.find((stage) => stage instanceof CacheStage);
  // Asked first, the cache makes answers from the watch as old as it likes.
  if (cache !== undefined && stages.indexOf(cache) < kubernetes) return undefined;
  const zones = (stages[kubernetes] as KubernetesStage | undefined)?.onlyZones;
  if (kubernetes >= 0 && zones === undefined) return undefined;
  const keeper = new AnswerKeeper(() => clock.monotonicMs());
  zones?.data.tell(keeper);
  const shuffles = plugins.loadbalance !== undefined;
  return { keeper, data: zones?.data, cache: cache?.cache, shuffles };
}

function outsideStages({ plugins, sites }: ServerBlock, world: World): Stage[] {
  const { clock, log } = world;
  const stages: Stage[] = (plugins.forward ?? []).flatMap((settings) => {
    const servers = withoutSelf(settings.servers, sites, log);
    if (servers.length === 0) return [];
    return [new ForwardStage(settings, new UpstreamPool({ ...settings, servers }, clock), log)];
  });
  if (stages.length > 0 && plugins.loop !== undefined) {
    stages.unshift(new LoopStage({ ...plugins.loop, ask: chainOf(stages), clock, log }));
  }
  return stages;
}
