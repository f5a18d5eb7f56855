/** A thread with a UDP socket of its own: kept answers at once, all else by the main thread. */
import { parentPort, workerData } from 'node:worker_threads';

import { onReadableAtOnce } from '../../kernel/ffi/libc.ts';
import { datagramBytesMax, type UdpBatch } from '../../kernel/ffi/udp-batch.ts';
import { AnswerCounts, VIA } from '../answer-counts.ts';
import type { Out } from '../kept/entry.ts';
import { FastPath } from '../kept/fast-path.ts';
import { bytesOf } from '../kept/raw-query.ts';
import { openStore } from '../kept/store.ts';
import { dnsLimits } from '../limits.ts';
import { openBatch } from '../udp.ts';
import type { Asked, FromWorker, ToWorker, WorkerStart } from './protocol.ts';

const start = workerData as WorkerStart;
const port = parentPort!;
const tell = (message: FromWorker) => port.postMessage(message);

/** Questions that are with the main thread. */
let away = 0;

try {
  const batch = openBatch(start);
  const stop = serve(batch, fastPath());
  port.on('message', (message: ToWorker) => {
    if (message.kind === 'share') batch.share();
    if (message.kind === 'replies') {
      away -= message.replies.length;
      for (const { sender, bytes } of message.replies) {
        if (bytes !== undefined) batch.send(sender, bytes);
      }
    }
    if (message.kind === 'stop') {
      stop();
      batch.close();
      port.close();
    }
  });
  tell({ kind: 'listening', port: batch.port });
} catch (error) {
  tell({ kind: 'failed', error });
}

function fastPath(): FastPath {
  const ahead = performance.timeOrigin - start.timeOrigin;
  const sources = start.kept.map(({ memory, shuffles, udpBytesMax }) => {
    const random = shuffles ? Math.random : undefined;
    return { store: openStore(memory), random, udpBytesMax };
  });
  return new FastPath(sources, {
    counts: new AnswerCounts(start.counts),
    nowMs: () => performance.now() + ahead,
    failed,
  });
}

/** An entry that is being overwritten may point anywhere; reading there finds no answer. */
function failed(error: unknown): void {
  if (!(error instanceof RangeError)) throw error;
}

function serve(batch: UdpBatch, fast: FastPath): () => void {
  const input = bytesOf(batch.input);
  const out: Out = { ...bytesOf(batch.output), at: 0, room: 0, roomMax: datagramBytesMax };
  const range = { start: 0, end: 0 };
  const isAnswered = (slot: number): boolean => {
    range.start = batch.startOf(slot);
    range.end = range.start + batch.lengthOf(slot);
    out.at = batch.nextReply;
    const length = fast.answer(input, range, batch.isIpv6(slot) ? VIA.ipv6 : VIA.udp, out);
    if (length > 0) batch.reply(slot, length);
    return length > 0;
  };
  return onReadableAtOnce(batch.fd, () => {
    const questions: Asked[] = [];
    const count = batch.receive();
    for (let slot = 0; slot < count; slot += 1) {
      if (!isAnswered(slot)) questions.push(askedOf(batch, slot));
    }
    batch.flush();
    // More than this would wait longer than clients do: they ask again.
    const taken = questions.slice(0, Math.max(0, dnsLimits.workerQuestionsMax - away));
    away += taken.length;
    if (taken.length > 0) tell({ kind: 'asked', questions: taken });
  });
}

function askedOf(batch: UdpBatch, slot: number): Asked {
  return {
    packet: new Uint8Array(batch.datagram(slot)),
    from: batch.clientOf(slot),
    sender: batch.senderOf(slot),
  };
}
