/** `forward`: names that are not ours are asked of other servers. */
import { messageOf, WorldError } from '../../lib/errors.ts';
import type { ForwardSettings } from '../config/types.ts';
import {
  failure,
  wantsAuthentic,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Stage,
} from '../stage.ts';
import { formatServer, type Server } from '../upstream/servers.ts';
import { UpstreamPool, type UpstreamReply } from '../upstream/pool.ts';
import { FLAG, OPCODE, opcodeOf, RCODE, rcodeOf, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, type Name } from '../wire/name.ts';

const stageName = 'forward';

export class ForwardStage implements Stage {
  readonly name = stageName;
  readonly #settings: ForwardSettings;
  readonly pool: UpstreamPool;
  readonly counts = { rejected: 0, failed: 0 };
  #running = 0;
  #hasNext = false;

  constructor(settings: ForwardSettings, pool: UpstreamPool) {
    this.#settings = settings;
    this.pool = pool;
  }

  /** The stage behind this one is a `forward` as well. */
  hasNext(): void {
    this.#hasNext = true;
  }

  stop(): void {
    this.pool.stop();
  }

  answer(ask: Ask, next: Next): Answered {
    const { query } = ask;
    const folded = foldCase(query.question.name);
    const { from, except, maxConcurrent } = this.#settings;
    if (!isWithin(folded, from) || except.some((zone) => isWithin(folded, zone))) return next(ask);
    if (opcodeOf(query) !== OPCODE.QUERY) return failure(RCODE.REFUSED, { stage: stageName });
    if (this.#running >= maxConcurrent) {
      this.counts.rejected += 1;
      return failure(
        RCODE.REFUSED,
        { stage: stageName },
        `concurrent queries exceeded maximum ${maxConcurrent}`,
      );
    }
    const answered = this.#forward(ask);
    if (!this.#hasNext) return answered;
    return answered.then((answer) => (this.#isForNext(answer) ? next(ask) : answer));
  }

  #isForNext(answer: Answer): boolean {
    if (answer.error !== undefined) return false;
    const { next, nextOnNodata } = this.#settings;
    const rcode = rcodeOf(answer);
    const isEmpty = rcode === RCODE.NOERROR && answer.answers.length === 0;
    return next.includes(rcode) || (nextOnNodata && isEmpty);
  }

  async #forward(ask: Ask): Promise<Answer> {
    const { question, flags, edns } = ask.query;
    this.#running += 1;
    try {
      const options = { flags, edns: edns !== undefined, dnssecOk: edns?.dnssecOk === true };
      return answerOf(ask, await this.pool.ask(question, options));
    } catch (error) {
      if (!(error instanceof WorldError)) throw error;
      this.counts.failed += 1;
      return failure(RCODE.SERVFAIL, { stage: stageName }, messageOf(error));
    } finally {
      this.#running -= 1;
    }
  }
}

function answerOf(ask: Ask, { message, server }: UpstreamReply): Answer {
  const { answers, authorities, additionals } = message;
  return {
    flags: outsideFlags(message.flags, ask),
    answers: spelled(answers, ask.query.question.name),
    authorities,
    additionals,
    sources: [sourceOf(server)],
  };
}

function sourceOf(server: Server) {
  return { stage: stageName, detail: () => formatServer(server) };
}

/** AD only for a client that asked for it (D65). */
export function outsideFlags(flags: number, ask: Ask): number {
  return flags & (FLAG.AA | FLAG.TC | FLAG.RA | (wantsAuthentic(ask) ? FLAG.AD : 0) | 0xf);
}

/** The records of a name in the spelling it was asked in: others may have asked before (D10). */
export function spelled(records: readonly ResourceRecord[], name: Name): readonly ResourceRecord[] {
  const folded = foldCase(name);
  return records.map((record) =>
    record.name !== name && foldCase(record.name) === folded ? { ...record, name } : record,
  );
}
