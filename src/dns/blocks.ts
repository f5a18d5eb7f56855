/** A server block at work: its stages, made from its settings, in the order in which they are asked. */
import type {
  KubernetesSettings,
  LoadbalanceSettings,
  PluginSettings,
  ServerBlock,
} from './config/types.ts';
import { AnswerKeeper } from './kept/keeper.ts';
import { withoutSelf } from './own-addresses.ts';
import { CacheStage } from './plugins/cache.ts';
import { errorsStage } from './plugins/errors.ts';
import { ForwardStage } from './plugins/forward.ts';
import { KubernetesStage, makeKubernetes } from './plugins/kubernetes.ts';
import { loadbalanceStage } from './plugins/loadbalance.ts';
import { LoopStage } from './plugins/loop.ts';
import type { TransferOptions } from './plugins/transfer.ts';
import { chainOf, type Next, type Stage } from './stage.ts';
import { UpstreamPool } from './upstream/pool.ts';
import { messageBytesMax } from './wire/message.ts';
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
 * Where no stage before the cluster's zones looks at the sender, equal questions have equal answers
 * but for the order of addresses: encoded ones are kept.
 */
export type Plain = {
  readonly keeper: AnswerKeeper;
  /** What answers of the watch are made from. */
  readonly data: ZoneData | undefined;
  /** Whether addresses change places. */
  readonly shuffles: boolean;
  /** The longest reply over UDP, whatever clients take. */
  readonly udpBytesMax: number;
  /** What every answer rests on besides. */
  readonly alsoReads: readonly number[];
};

/** Makes the stages in CoreDNS's order (its plugin.cfg), whatever the order in the file. */
export async function makeBlock(settings: ServerBlock, world: World): Promise<Block> {
  const { plugins, sites } = settings;
  const outside = outsideStages(settings, world);
  const kubernetes = plugins.kubernetes && (await makeKubernetes(plugins.kubernetes, sites, world));
  // What nobody else can know does not exist.
  if (outside.length === 0 && plugins.whoami === undefined) kubernetes?.isLast();
  const before = await outerStages(plugins, kubernetes, world);
  const local = await localStages(plugins, kubernetes, world);
  const inner = [...local, ...(kubernetes ? [kubernetes] : [])];
  const stages = [...before, ...cached(inner, outside, settings, world)];
  if (plugins.whoami !== undefined) {
    stages.push((await import('./plugins/chaos.ts')).whoamiStage());
  }
  return {
    settings,
    stages,
    chain: chainOf(stages),
    synced: kubernetes?.synced ?? Promise.resolve(),
    plain: plainOf(settings, stages, world),
  };
}

/** Stages that change questions and answers, and look at both. */
async function outerStages(
  plugins: PluginSettings,
  kubernetes: KubernetesStage | undefined,
  world: World,
): Promise<Stage[]> {
  const { acl, autopath, chaos, errors, loadbalance, log, rewrite } = plugins;
  const stages: Stage[] = [];
  if (errors !== undefined) stages.push(errorsStage(errors, world));
  // What few servers have is loaded when one has it.
  if (log !== undefined) stages.push((await import('./plugins/log.ts')).logStage(log, world));
  if (chaos !== undefined) stages.push((await import('./plugins/chaos.ts')).chaosStage(chaos));
  if (loadbalance !== undefined) stages.push(await balanceStage(loadbalance, world));
  if (rewrite !== undefined) {
    stages.push((await import('./plugins/rewrite.ts')).rewriteStage(rewrite));
  }
  if (autopath !== undefined) {
    const { AutopathStage } = await import('./plugins/autopath.ts');
    const searchOf = (ask: Parameters<Next>[0]) => kubernetes?.searchOf(ask);
    stages.push(new AutopathStage({ settings: autopath, searchOf }));
  }
  if (acl !== undefined) stages.push((await import('./plugins/acl.ts')).aclStage(acl));
  return stages;
}

async function balanceStage(settings: LoadbalanceSettings, world: World): Promise<Stage> {
  if (isUniform(settings)) return loadbalanceStage(world);
  const { LoadbalanceStage } = await import('./plugins/loadbalance-by-file.ts');
  return new LoadbalanceStage(settings, world);
}

/** Whether each order of addresses is as good as any other. */
function isUniform({ weights, prefer }: LoadbalanceSettings): boolean {
  return weights === undefined && prefer.length === 0;
}

/** Stages that answer from what they have, before the cluster's zones. */
async function localStages(
  { hosts, template, transfer }: PluginSettings,
  kubernetes: KubernetesStage | undefined,
  world: World,
): Promise<Stage[]> {
  const stages: Stage[] = [];
  if (template !== undefined) {
    stages.push((await import('./plugins/template.ts')).templateStage(template));
  }
  if (transfer !== undefined) {
    const { transferStage } = await import('./plugins/transfer.ts');
    const recordsOf: TransferOptions['recordsOf'] = (zone, serial) =>
      kubernetes?.transfer(zone, serial);
    stages.push(transferStage({ settings: transfer, recordsOf }));
  }
  if (hosts !== undefined) {
    const { HostsStage } = await import('./plugins/hosts.ts');
    stages.push(new HostsStage(hosts, world));
  }
  return stages;
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
  const strict = isStrict(plugins.kubernetes);
  const cache = new CacheStage(plugins.cache, { clock, merges: !strict });
  if (strict) return [cache, ...inner, ...outside];
  return [...inner, ...withCache(cache, outside)];
}

function isStrict(kubernetes: KubernetesSettings | undefined): boolean {
  return kubernetes?.strictCoredns === true;
}

/** Behind `loop`: a question that came round must not be joined to the one on its way. */
function withCache(cache: Stage, outside: readonly Stage[]): readonly Stage[] {
  const at = outside[0]?.name === 'loop' ? 1 : 0;
  return outside.length === 0 ? [] : outside.toSpliced(at, 0, cache);
}

function outsideStages({ plugins, sites }: ServerBlock, world: World): Stage[] {
  const { clock, log } = world;
  const forwards = (plugins.forward ?? []).flatMap((settings) => {
    const servers = withoutSelf(settings.servers, sites, log);
    if (servers.length === 0) return [];
    return [new ForwardStage(settings, new UpstreamPool({ ...settings, servers }, clock))];
  });
  for (const stage of forwards.slice(0, -1)) stage.hasNext();
  const stages: Stage[] = [...forwards];
  if (stages.length > 0 && plugins.loop !== undefined) {
    stages.unshift(new LoopStage({ ...plugins.loop, ask: chainOf(stages), clock, log }));
  }
  return stages;
}

/** Directives that treat equal questions unequally, or want to see each. */
const unequal = ['acl', 'autopath', 'log'] as const;

/** The place among the versions of kept answers that stands for hosts files. */
const hostsPlace = 0;

function plainOf(
  { plugins }: ServerBlock,
  stages: readonly Stage[],
  { clock }: World,
): Plain | undefined {
  if (unequal.some((name) => plugins[name] !== undefined)) return undefined;
  if (plugins.loadbalance !== undefined && !isUniform(plugins.loadbalance)) return undefined;
  const kubernetes = stages.findIndex((stage) => stage instanceof KubernetesStage);
  const cache = stages.find((stage) => stage instanceof CacheStage);
  // Asked first, the cache makes answers from the watch as old as it likes.
  if (cache !== undefined && stages.indexOf(cache) < kubernetes) return undefined;
  const zones = (stages[kubernetes] as KubernetesStage | undefined)?.onlyZones;
  if (kubernetes >= 0 && zones === undefined) return undefined;
  const keeper = new AnswerKeeper(() => clock.monotonicMs());
  zones?.data.tell(keeper);
  const changing = stages.filter((stage) => stage.tell !== undefined);
  for (const stage of changing) stage.tell?.(() => keeper.outdate(hostsPlace));
  return {
    keeper,
    data: zones?.data,
    shuffles: plugins.loadbalance !== undefined,
    udpBytesMax: plugins.bufsize ?? messageBytesMax,
    alsoReads: changing.length === 0 ? [] : [hostsPlace],
  };
}
