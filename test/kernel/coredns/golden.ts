/** CoreDNS's answers as text, recorded by tools/record/coredns.ts: the comparison where it is absent. */
import { readFileSync } from 'node:fs';

import type { PodRecords } from '../../../src/dns/zone/zones.ts';
import type { Seen } from './reply.ts';

export const goldenFile = new URL('../../golden/coredns.txt', import.meta.url);

/** What was recorded: the seed decides the cluster and the questions. */
export const goldenRounds: readonly { seed: number; pods: PodRecords }[] = [
  { seed: 101, pods: 'insecure' },
  { seed: 202, pods: 'verified' },
  { seed: 303, pods: 'disabled' },
];
export const goldenQuestions = 250;

export type Recorded = { readonly question: string; readonly seen: Seen };

/** One block: the question, then a line for each part of the reply that there is. */
export function formatRecorded({ question, seen }: Recorded): string {
  const rows = (mark: string, lines: readonly string[]) => lines.map((line) => `${mark} ${line}`);
  return [
    `? ${question}`,
    `= ${seen.header}`,
    ...rows('answer', seen.answers),
    ...rows('authority', seen.authorities),
    ...rows('additional', seen.additionals),
    ...rows('opt', seen.opt === '' ? [] : [seen.opt]),
    ...(seen.truncated ? ['cut'] : []),
  ].join('\n');
}

/** By round, in the order of asking. */
export function readGolden(): Recorded[][] {
  const rounds = readFileSync(goldenFile, 'utf8')
    .split(/^# .*\n/m)
    .slice(1);
  return rounds.map((round) =>
    round
      .trim()
      .split(/\n(?=\? )/)
      .map(parseRecorded),
  );
}

function parseRecorded(block: string): Recorded {
  const lines = block.split('\n');
  const rows = (mark: string) =>
    lines.filter((line) => line.startsWith(`${mark} `)).map((line) => line.slice(mark.length + 1));
  return {
    question: rows('?')[0]!,
    seen: {
      header: rows('=')[0]!,
      answers: rows('answer'),
      authorities: rows('authority'),
      additionals: rows('additional'),
      opt: rows('opt')[0] ?? '',
      truncated: lines.includes('cut'),
    },
  };
}
