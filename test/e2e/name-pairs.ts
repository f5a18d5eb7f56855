/**
 * Asks as resolvers do: A and AAAA at once from one socket, a new one for each pair, so that the
 * kernel sees two first packets of the same flow. Run in the network of a pod; prints what it saw.
 */
import { createSocket } from 'node:dgram';

import * as packet from 'dns-packet';

export type Pairs = {
  readonly server: string;
  readonly name: string;
  readonly count: number;
  /** At once. */
  readonly parallel: number;
};

/** `stalled` pairs had no second answer after this. */
export const stallMs = 2500;

export type PairsSeen = {
  readonly asked: number;
  readonly stalled: number;
  readonly slowestMs: number;
};

async function askAll({ server, name, count, parallel }: Pairs): Promise<PairsSeen> {
  let [asked, stalled, slowestMs] = [0, 0, 0];
  const queries = (['A', 'AAAA'] as const).map((type, index) =>
    packet.encode({
      type: 'query',
      id: index + 1,
      flags: packet.RECURSION_DESIRED,
      questions: [{ name, type }],
    }),
  );
  const asker = async () => {
    while (asked < count) {
      asked += 1;
      const ms = await askPair(server, queries);
      if (ms === undefined) stalled += 1;
      else slowestMs = Math.max(slowestMs, ms);
    }
  };
  await Promise.all(Array.from({ length: parallel }, asker));
  return { asked, stalled, slowestMs };
}

/** Milliseconds to both answers. */
function askPair(server: string, queries: readonly Buffer[]): Promise<number | undefined> {
  const started = performance.now();
  const socket = createSocket('udp4');
  const answered = new Set<number>();
  return new Promise((resolve) => {
    const end = (ms: number | undefined) => {
      clearTimeout(timer);
      socket.close();
      resolve(ms);
    };
    const timer = setTimeout(() => end(undefined), stallMs);
    socket.on('message', (bytes) => {
      answered.add(bytes.readUInt16BE(0));
      if (answered.size === queries.length) end(performance.now() - started);
    });
    // Bound first, both go out in the same turn.
    socket.bind(0, () => {
      for (const query of queries) socket.send(query, 53, server);
    });
  });
}

if (import.meta.main) {
  const pairs = JSON.parse(process.argv[2] ?? '') as Pairs;
  console.log(JSON.stringify(await askAll(pairs)));
}
