/** `cache`: answers of the stages behind it are kept a while, and each is asked for only once at a time. */
import type { Clock } from '../../lib/clock.ts';
import type { CacheSettings } from '../config/types.ts';
import { outsideFlags, spelled } from './forward.ts';
import { whenDone, type Answer, type Answered, type Ask, type Next, type Stage } from '../stage.ts';
import { messageIn, MessageCache, type Hit } from '../upstream/message-cache.ts';
import { FLAG, OPCODE, opcodeOf, RCODE, rcodeOf, type Message } from '../wire/message.ts';
import { foldCase, isWithin } from '../wire/name.ts';

const stageName = 'cache';

export class CacheStage implements Stage {
  readonly name = stageName;
  readonly cache: MessageCache;
  readonly #settings: CacheSettings;
  readonly #clock: Clock;
  readonly #merges: boolean;
  readonly #inFlight = new Map<string, Promise<Answer>>();

  /** `merges`: equal questions on their way are asked once; CoreDNS asks each (D89). */
  constructor(
    settings: CacheSettings,
    { clock, merges }: { readonly clock: Clock; readonly merges: boolean },
  ) {
    this.#settings = settings;
    this.#clock = clock;
    this.#merges = merges;
    this.cache = new MessageCache(settings, () => clock.monotonicMs());
  }

  answer(ask: Ask, next: Next): Answered {
    if (opcodeOf(ask.query) !== OPCODE.QUERY) return next(ask);
    const folded = foldCase(ask.query.question.name);
    if (!this.#settings.zones.some((zone) => isWithin(folded, zone))) return next(ask);
    const way: Way = { key: keyOf(ask), ask, next };
    const hit = this.cache.get(way.key);
    if (hit === undefined) return whenDone(this.#fetch(way), (answer) => tailored(ask, answer));
    if (hit.leftMs <= 0) return this.#stale(way, hit);
    if (this.cache.isWorthFetching(hit)) this.#refresh(way, hit);
    return this.#hit(ask, hit);
  }

  /** Asks the stages behind, or waits for somebody who does, and keeps what comes back. */
  #fetch({ key, ask, next }: Way): Answered {
    const running = this.#inFlight.get(key);
    if (running !== undefined) return running;
    // What is kept may serve a client that wants AD later (D89).
    const { query } = ask;
    const asked = next({ ...ask, query: { ...query, flags: query.flags | FLAG.AD } });
    const keep = (answer: Answer) => this.#keep(key, ask, answer);
    if (!(asked instanceof Promise)) return keep(asked);
    const work = asked.then(keep);
    if (!this.#merges) return work;
    // Others who ask the same meanwhile get this answer too.
    const noted = work.finally(() => this.#inFlight.delete(key));
    this.#inFlight.set(key, noted);
    return noted;
  }

  /** The answer with the TTL that all its records share (D85). */
  #keep(key: string, ask: Ask, answer: Answer): Answer {
    if (answer.error !== undefined || answer.dropped === true) return answer;
    const { answers, authorities, additionals } = this.cache.put(key, messageOf(ask, answer));
    return { ...answer, answers, authorities, additionals };
  }

  #hit(ask: Ask, hit: Hit): Answer {
    const { keepTtl, prefetch } = this.#settings;
    const { expiresAtMs, ttlSeconds } = hit.entry;
    const ttl = keepTtl === true ? ttlSeconds : Math.ceil(hit.leftMs / 1000);
    const answer = answerOf(ask, hit, ttl);
    // Whoever answers in front of this stage counts no hits and lets TTLs run down.
    if (keepTtl === true || prefetch !== undefined) return answer;
    const authentic = (hit.entry.flags & FLAG.AD) !== 0;
    return { ...answer, cached: { kind: hit.kind, expiresAtMs, authentic } };
  }

  /** An expired answer that may still be given (RFC 8767). */
  #stale(way: Way, hit: Hit): Answered {
    const { verifyTimeoutMs, ttlSeconds } = this.#settings.serveStale!;
    const give = (): Answer => {
      this.cache.servedStale += 1;
      return answerOf(way.ask, hit, ttlSeconds);
    };
    if (!this.cache.beginRefresh(hit)) return give();
    const fresh = this.#verified(way, hit);
    if (verifyTimeoutMs === undefined) {
      void fresh;
      return give();
    }
    const wanted = verifyTimeoutMs === 0 ? fresh : this.#inTime(fresh, verifyTimeoutMs);
    return wanted.then((answer) => (answer === undefined ? give() : tailored(way.ask, answer)));
  }

  #refresh(way: Way, hit: Hit): void {
    if (!this.cache.beginRefresh(hit)) return;
    this.cache.prefetches += 1;
    void this.#verified(way, hit);
  }

  /** Asks anew; undefined when what comes back is no better than what is kept. */
  async #verified(way: Way, hit: Hit): Promise<Answer | undefined> {
    let good = false;
    try {
      const answer = await this.#fetch(way);
      good = isGood(answer, this.#settings.serveStale?.preferPositive === true);
      return good ? answer : undefined;
    } finally {
      this.cache.endRefresh(hit, good);
      if (good) this.cache.passHits(hit.entry, way.key);
    }
  }

  async #inTime(
    fresh: Promise<Answer | undefined>,
    timeoutMs: number,
  ): Promise<Answer | undefined> {
    const { promise: late, resolve } = Promise.withResolvers<undefined>();
    const cancel = this.#clock.after(timeoutMs, () => resolve(undefined));
    try {
      return await Promise.race([fresh, late]);
    } finally {
      cancel();
    }
  }
}

/** A question with its key and what stands behind this stage. */
type Way = { readonly key: string; readonly ask: Ask; readonly next: Next };

/** Only an answer or a denial takes the place of what is stale (RFC 8767 §4). */
function isGood(answer: Answer, onlyPositive: boolean): boolean {
  if (answer.error !== undefined || (answer.flags & FLAG.TC) !== 0) return false;
  const rcode = rcodeOf(answer);
  if (onlyPositive) return rcode === RCODE.NOERROR && answer.answers.length > 0;
  return rcode === RCODE.NOERROR || rcode === RCODE.NXDOMAIN;
}

function messageOf({ query }: Ask, answer: Answer): Message {
  const { flags, answers, authorities, additionals } = answer;
  return { id: 0, flags, questions: [query.question], answers, authorities, additionals };
}

/** AA is set on whatever comes from here (D65). */
function answerOf(ask: Ask, hit: Hit, ttlSeconds: number): Answer {
  const { flags, answers, authorities, additionals } = messageIn(hit, ttlSeconds);
  const detail = () => {
    const left = Math.ceil(hit.leftMs / 1000);
    return `${hit.kind}, ${hit.entry.ttlSeconds - left} s old, ${left} s left`;
  };
  const sources = [{ stage: stageName, detail }];
  return tailored(ask, { flags: flags | FLAG.AA, answers, authorities, additionals, sources });
}

/** The flags and the spelling that this client gets. */
function tailored(ask: Ask, answer: Answer): Answer {
  const { flags, answers } = answer;
  return {
    ...answer,
    flags: outsideFlags(flags, ask),
    answers: spelled(answers, ask.query.question.name),
  };
}

/** Apart in the cache: what differs by the DO and CD bits (D83). */
function keyOf({ query: { question, flags, edns } }: Ask): string {
  const bits = (edns?.dnssecOk === true ? 1 : 0) | ((flags & FLAG.CD) === 0 ? 0 : 2);
  return foldCase(question.name) + String.fromCharCode(question.type, question.class, bits);
}
