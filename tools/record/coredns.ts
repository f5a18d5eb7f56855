/**
 * Records what CoreDNS answers to random questions about random clusters, as text for our tests.
 *
 * Run it in a network of its own, CoreDNS on the PATH or in COREDNS:
 * `unshare -n sh tools/node.sh tools/record/coredns.ts`
 */
import { writeFileSync } from 'node:fs';

import { askSide, startTestCluster } from '../../test/kernel/coredns/cluster.ts';
import {
  formatRecorded,
  goldenFile,
  goldenQuestions,
  goldenRounds,
} from '../../test/kernel/coredns/golden.ts';
import { ownAddressUp } from '../../test/kernel/coredns/network.ts';
import { corednsBinary } from '../../test/kernel/coredns/peer.ts';
import { describe, randomQuestion } from '../../test/kernel/coredns/questions.ts';
import { Random } from '../../test/support/random.ts';

const binary = corednsBinary();
if (binary === undefined) throw new Error('CoreDNS is neither on the PATH nor in COREDNS');
ownAddressUp();
const rounds: string[] = [];
for (const { seed, pods } of goldenRounds) {
  const random = new Random(seed);
  const cluster = await startTestCluster(random, { pods, outside: false }, binary);
  const blocks = [`# seed ${seed}, pods ${pods}`];
  for (let count = 0; count < goldenQuestions; count += 1) {
    const question = randomQuestion(random, cluster.world, { outside: false, damage: true });
    const seen = await askSide(cluster.theirs!, question, 2000);
    blocks.push(formatRecorded({ question: describe(question), seen }));
  }
  rounds.push(blocks.join('\n'));
  await cluster.stop();
}
writeFileSync(goldenFile, `${rounds.join('\n')}\n`);
