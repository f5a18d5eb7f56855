/** `cache`: answers of the stages behind it are kept a while, and each is asked for only once at a time. */
import type { Clock } from '../../lib/clock.ts';
import type { CacheSettings } from '../config/types.ts';
import { outsideFlags, spelled } from './forward.ts';
import {
  type Answer,
  type Answered,
  type Ask,
  type Cached,
  type Next,
  type Stage,
} from '../stage.ts';
import { MessageCache } from '../upstream/message-cache.ts';
import { FLAG, OPCODE, opcodeOf, type Message } from '../wire/message.ts';
import { foldCase, isWithin, type Name } from '../wire/name.ts';

const stageName = 'cache';

export class CacheStage implements Stage {
  readonly name = stageName;
  readonly cache: MessageCache;
  readonly #zones: readonly Name[];
  readonly #merges: boolean;
  readonly #inFlight = new Map<string, Promise<Answer>>();

  /** `merges`: equal questions on their way are asked once; CoreDNS asks each (D89). */
  constructor(
    settings: CacheSettings,
    { clock, merges }: { readonly clock: Clock; readonly merges: boolean },
  ) {
    this.#merges = merges;
    this.#zones = settings.zones;
    this.cache = new MessageCache(settings, () => clock.monotonicMs());
  }

  answer(ask: Ask, next: Next): Answered {
    if (opcodeOf(ask.query) !== OPCODE.QUERY) return next(ask);
    const folded = foldCase(ask.query.question.name);
    if (!this.#zones.some((zone) => isWithin(folded, zone))) return next(ask);
    const key = keyOf(ask);
    const kept = this.cache.get(key);
    if (kept !== undefined) return hit(ask, kept.message, kept);
    const finish = (answer: Answer) => tailored(ask, answer);
    const running = this.#inFlight.get(key);
    if (running !== undefined) return running.then(finish);
    // What is kept may serve a client that wants AD later (D89).
    const { query } = ask;
    const asked = next({ ...ask, query: { ...query, flags: query.flags | FLAG.AD } });
    const keep = (answer: Answer) => this.#keep(key, ask, answer);
    if (!(asked instanceof Promise)) return finish(keep(asked));
    const work = asked.then(keep);
    return (this.#merges ? this.#noted(key, work) : work).then(finish);
  }

  /** Others who ask the same meanwhile get this answer too. */
  #noted(key: string, work: Promise<Answer>): Promise<Answer> {
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
}

function messageOf({ query }: Ask, answer: Answer): Message {
  const { flags, answers, authorities, additionals } = answer;
  return { id: 0, flags, questions: [query.question], answers, authorities, additionals };
}

/** AA is set on whatever comes from here (D65). */
function hit(ask: Ask, message: Message, { kind, expiresAtMs }: Cached): Answer {
  const { flags, answers, authorities, additionals } = message;
  const answer = { flags: flags | FLAG.AA, answers, authorities, additionals };
  return tailored(ask, {
    ...answer,
    sources: [{ stage: stageName }],
    cached: { kind, expiresAtMs },
  });
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
