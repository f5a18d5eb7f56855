/**
 * What a virtual IP costs a connection: pod to pod directly and through a ClusterIP, on one node and
 * across two, with 10 Services and with 44,000. All ways take turns, a few hundred exchanges each, so
 * that what else the machine does meets all of them alike; ratios are medians over the turns.
 *
 *     npm run bench -- datapath [--services 10,44000] [--rounds 40] [--json]
 */
import { parseArgs } from 'node:util';
import { PODS, SERVICE_PORT, TARGET_PORT, VIPS } from './datapath/node.ts';
import type { Task } from './datapath/peer.ts';
import { World } from './datapath/world.ts';
import { quantile, report, type Figure } from './report.ts';

const { values: options } = parseArgs({
  options: {
    services: { type: 'string', default: '10,44000' },
    rounds: { type: 'string', default: '40' },
    json: { type: 'boolean', default: false },
  },
});
const rounds = Number(options.rounds);

type Way = { readonly name: string; readonly direct: string; readonly vip: string };
const WAYS: readonly Way[] = [
  { name: 'one node', direct: PODS.local, vip: VIPS.local },
  { name: 'one node, affinity', direct: PODS.local, vip: VIPS.sticky },
  { name: 'two nodes', direct: PODS.remote, vip: VIPS.remote },
];
type Kind = Pick<Task, 'how' | 'protocol' | 'count'> & { readonly name: string };
const KINDS: readonly Kind[] = [
  { name: 'short connections', how: 'short', protocol: 'tcp', count: 200 },
  { name: 'request on a kept connection', how: 'kept', protocol: 'tcp', count: 400 },
  { name: 'first UDP packet and its answer', how: 'short', protocol: 'udp', count: 200 },
];

/** One way of one kind in one world: the median of each round, and every sample. */
class Series {
  readonly perRound: number[] = [];
  readonly samples: number[] = [];

  add(samples: readonly number[]): void {
    this.perRound.push(medianOf(samples));
    for (const one of samples) this.samples.push(one);
  }

  at(q: number): number {
    return quantile(
      this.samples.toSorted((a, b) => a - b),
      q,
    );
  }
}

const all = new Map<string, Series>();
const worlds: World[] = [];
try {
  for (const count of options.services.split(',')) worlds.push(await World.build(Number(count)));
  // The first round warms up code and neighbours, and does not count.
  for (let round = 0; round <= rounds; round += 1) await playRound(round > 0);
} finally {
  for (const world of worlds) world[Symbol.dispose]();
}
report('datapath', [...KINDS.flatMap(figuresOf), ...KINDS.map(scaling)], options.json);

async function playRound(counts: boolean): Promise<void> {
  const turns = KINDS.flatMap((kind) =>
    WAYS.flatMap((way) => worlds.map((world) => ({ kind, way, world }))),
  );
  for (const { kind, way, world } of turns) {
    for (const end of ['direct', 'vip'] as const) {
      const address = { host: way[end], port: end === 'vip' ? SERVICE_PORT : TARGET_PORT };
      const { samples } = await world.run({ ...kind, address });
      if (counts) seriesOf(kind, way, world, end).add(samples);
    }
  }
}

function seriesOf(kind: Kind, way: Way, world: World, end: 'direct' | 'vip'): Series {
  const key = [kind.name, way.name, world.services, end].join('|');
  const series = all.get(key) ?? new Series();
  all.set(key, series);
  return series;
}

function figuresOf(kind: Kind): Figure[] {
  return worlds.flatMap((world) =>
    WAYS.flatMap((way) => {
      const label = `${kind.name}, ${way.name}, ${world.services} Services`;
      const direct = seriesOf(kind, way, world, 'direct');
      const vip = seriesOf(kind, way, world, 'vip');
      const micros = (name: string, value: number): Figure => ({
        name: `${label}: ${name}`,
        value,
        unit: 'us',
      });
      return [
        micros('direct, median', direct.at(0.5)),
        micros('direct, p99', direct.at(0.99)),
        micros('VIP, median', vip.at(0.5)),
        micros('VIP, p99', vip.at(0.99)),
        {
          name: `${label}: rate through the VIP, of the direct one`,
          value: medianRatio(direct, vip),
          unit: 'x',
          // A flow's first packet is where all rules are; its price is shown, and no rate to keep.
          ...(kind.protocol === 'tcp' ? { goal: '>= 0.95' } : {}),
        },
      ];
    }),
  );
}

/** The same way through the VIP with the most Services, against that with the fewest. */
function scaling(kind: Kind): Figure {
  const [few, many] = [worlds[0]!, worlds.at(-1)!];
  const ratios = WAYS.map((way) =>
    medianRatio(seriesOf(kind, way, few, 'vip'), seriesOf(kind, way, many, 'vip')),
  );
  return {
    name: `${kind.name}: rate with ${many.services} Services, of that with ${few.services}`,
    value: medianOf(ratios),
    unit: 'x',
    goal: '>= 0.95',
  };
}

/** Of the times in the same round; their inverse is that of the rates. */
function medianRatio(base: Series, other: Series): number {
  const ratios = base.perRound.map((time, round) => time / other.perRound[round]!);
  return medianOf(ratios);
}

function medianOf(values: readonly number[]): number {
  return quantile(
    values.toSorted((a, b) => a - b),
    0.5,
  );
}
