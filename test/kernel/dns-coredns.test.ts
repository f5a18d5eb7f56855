/**
 * Our server beside CoreDNS: the same random cluster, the same random questions; every difference that
 * is no decision is a fault. Recorded answers always, CoreDNS itself where its binary is present.
 * `FAIRLEAD_DNS_QUESTIONS` asks for more of it, `FAIRLEAD_SEED` for the same again.
 */
import assert from 'node:assert/strict';
import { before, test, type TestContext } from 'node:test';

import { Random, seedOfRun } from '../support/random.ts';
import { askSide, startTestCluster, type Side, type TestCluster } from './coredns/cluster.ts';
import { decisionFor } from './coredns/decided.ts';
import { goldenQuestions, goldenRounds, readGolden } from './coredns/golden.ts';
import { ownAddressUp } from './coredns/network.ts';
import { corednsBinary } from './coredns/peer.ts';
import { describe, randomQuestion, type Question } from './coredns/questions.ts';
import { differences, type Seen } from './coredns/reply.ts';

const seed = seedOfRun();
const questionsLive = Number(process.env.FAIRLEAD_DNS_QUESTIONS ?? 2000);
const questionsPerCluster = 600;
const atOnce = 8;

before(ownAddressUp);

/** What is different between a side of ours and CoreDNS, decided or not. */
type Difference = { readonly lines: readonly string[]; readonly decision: string | undefined };

function compare(
  given: { question: Question; ours: Seen; theirs: Seen },
  cluster: TestCluster,
  { strict }: { strict: boolean },
): Difference | undefined {
  const lines = differences(given.ours, given.theirs);
  if (lines.length === 0) return undefined;
  const { outside } = cluster.setup;
  return { lines, decision: decisionFor({ ...given, outside }, { strict }) };
}

const recorded = readGolden();
goldenRounds.forEach(({ seed, pods }, round) => {
  test(`${goldenQuestions} recorded answers of CoreDNS, pods ${pods}`, async () => {
    const random = new Random(seed);
    const cluster = await startTestCluster(random, { pods, outside: false }, undefined);
    const faults: string[] = [];
    try {
      for (const { question: text, seen: theirs } of recorded[round]!) {
        const question = randomQuestion(random, cluster.world, { outside: false, damage: true });
        assert.equal(describe(question), text, 'the record is of other questions: record it anew');
        for (const strict of [true, false]) {
          const side = strict ? cluster.ours.strict : cluster.ours.usual;
          const timeoutMs = theirs.header === 'silence' ? 150 : 3000;
          const ours = await askSide(side, question, timeoutMs);
          const found = compare({ question, ours, theirs }, cluster, { strict });
          if (found === undefined || found.decision !== undefined) continue;
          faults.push([side.name, text, ...found.lines].join('\n  '));
        }
      }
    } finally {
      await cluster.stop();
    }
    assert.deepEqual(faults, []);
    assert.equal(recorded[round]!.length, goldenQuestions);
  });
});

type Tally = { asked: number; readonly decided: Map<string, number>; readonly faults: string[] };

const binary = corednsBinary();
if (binary !== undefined) {
  test(`${questionsLive} questions beside CoreDNS itself, seed ${seed}`, async (t) => {
    const random = new Random(seed);
    const tally: Tally = { asked: 0, decided: new Map(), faults: [] };
    while (tally.asked < questionsLive) {
      const pods = random.pick(['insecure', 'insecure', 'verified', 'disabled'] as const);
      const outside = random.once(3);
      const cluster = await startTestCluster(random, { pods, outside }, binary);
      try {
        await askMany(random, cluster, tally);
        await cluster.change(random);
        await askMany(random, cluster, tally);
      } finally {
        await cluster.stop();
      }
    }
    report(t, tally);
    assert.deepEqual(tally.faults, []);
  });
}

function report(t: TestContext, { asked, decided, faults }: Tally): void {
  t.diagnostic(`${asked} questions, ${faults.length} differences that are no decision`);
  for (const [item, count] of decided) t.diagnostic(`${count} x ${item}`);
}

async function askMany(random: Random, cluster: TestCluster, tally: Tally): Promise<void> {
  const range = { outside: cluster.setup.outside, damage: !cluster.setup.outside };
  const questions = random.many(questionsPerCluster / 2, () =>
    randomQuestion(random, cluster.world, range),
  );
  tally.asked += questions.length;
  const work = async () => {
    for (let next = questions.pop(); next !== undefined; next = questions.pop()) {
      for (const strict of [true, false]) await askOne(next, cluster, { strict, tally });
    }
  };
  await Promise.all(Array.from({ length: atOnce }, work));
}

async function askOne(
  question: Question,
  cluster: TestCluster,
  { strict, tally }: { strict: boolean; tally: Tally },
): Promise<void> {
  const side = strict ? cluster.ours.strict : cluster.ours.usual;
  const found = await differenceIn(question, cluster, { strict, side });
  if (found === undefined) return;
  const { decision } = found;
  if (decision !== undefined) {
    tally.decided.set(decision, (tally.decided.get(decision) ?? 0) + 1);
    return;
  }
  const smallest = await shrink(question, cluster, { strict, side });
  const last = (await differenceIn(smallest, cluster, { strict, side })) ?? found;
  const { pods } = cluster.setup;
  const objects = objectsIn(smallest, cluster);
  tally.faults.push(
    [`${side.name}, pods ${pods}: ${describe(smallest)}`, ...last.lines, ...objects].join('\n  '),
  );
}

/** A lost datagram or a slow moment is no difference: it has to show twice. */
async function differenceIn(
  question: Question,
  cluster: TestCluster,
  { strict, side }: { strict: boolean; side: Side },
): Promise<Difference | undefined> {
  for (const timeoutMs of [400, 3000]) {
    const [ours, theirs] = await Promise.all([
      askSide(side, question, timeoutMs),
      askSide(cluster.theirs!, question, timeoutMs),
    ]);
    const found = compare({ question, ours, theirs }, cluster, { strict });
    if (found === undefined || timeoutMs === 3000) return found;
  }
  return undefined;
}

/** The plainest question that still shows a fault. */
async function shrink(
  question: Question,
  cluster: TestCluster,
  options: { strict: boolean; side: Side },
): Promise<Question> {
  let smallest = question;
  const plain: ((q: Question) => Question)[] = [
    (q) => ({ ...q, damage: undefined }),
    (q) => ({ ...q, edns: undefined }),
    (q) => ({ ...q, transport: 'udp' }),
    (q) => ({ ...q, flags: 0x0100 }),
    (q) => ({ ...q, opcode: 0 }),
    (q) => ({ ...q, class: 1 }),
    (q) => ({ ...q, labels: q.labels.map((label) => label.toLowerCase()) }),
  ];
  for (const make of plain) {
    const next = make(smallest);
    const found = await differenceIn(next, cluster, options);
    if (found !== undefined && found.decision === undefined) smallest = next;
  }
  return smallest;
}

/** The objects that the question's labels name. */
function objectsIn({ labels }: Question, { world }: TestCluster): string[] {
  const asked = new Set(labels.map((label) => label.toLowerCase()));
  const names = ({ metadata }: { metadata: { name: string; namespace?: string } }) =>
    asked.has(metadata.namespace ?? '') && asked.has(metadata.name.replace(/-\d+$/, ''));
  return world.objects
    .filter(({ object }) => names(object))
    .map(({ object }) => JSON.stringify(object));
}
