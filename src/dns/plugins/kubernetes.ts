/** `kubernetes`: the zones of the cluster, answered from the watch. */
import type { KubernetesSettings } from '../config/types.ts';
import type { Feed } from '../feed.ts';
import {
  asking,
  failure,
  whenDone,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Source,
  type Stage,
} from '../stage.ts';
import { FLAG, RCODE, rcodeOf, type ResourceRecord } from '../wire/message.ts';
import { foldCase, formatName, isWithin, type Name } from '../wire/name.ts';
import { lookup, type Lookup } from '../zone/lookup.ts';
import { soaRecord } from '../zone/records.ts';
import type { Zones } from '../zone/zones.ts';
import { spelled } from './forward.ts';

export type KubernetesOptions = {
  readonly settings: KubernetesSettings;
  readonly zones: Zones;
  readonly feed: Feed;
};

export class KubernetesStage implements Stage {
  readonly name = 'kubernetes';
  readonly zones: Zones;
  readonly #fallthrough: readonly Name[];
  readonly #feed: Feed;

  constructor({ settings, zones, feed }: KubernetesOptions) {
    this.zones = zones;
    this.#fallthrough = settings.fallthrough;
    this.#feed = feed;
  }

  get synced(): Promise<void> {
    return this.#feed.synced;
  }

  isReady(): boolean {
    return this.#feed.hasSynced();
  }

  stop(): void {
    this.#feed.stop();
  }

  answer(ask: Ask, next: Next): Answered {
    const { question } = ask.query;
    const found = lookup(this.zones, question);
    if (found === undefined) return next(ask);
    const { outcome } = found;
    // A missing name may be known to others, synced or not (D57, D61).
    if (outcome.kind === 'missing' && this.#fallsThrough(question.name)) return next(ask);
    if (outcome.kind === 'refused') return failure(RCODE.REFUSED, { stage: this.name });
    if (outcome.kind === 'alias') return this.#alias(ask, outcome.answers, outcome.target);
    return this.#inside(found, sourceOf(question.name));
  }

  #fallsThrough(name: Name): boolean {
    if (this.#fallthrough.length === 0) return false;
    const folded = foldCase(name);
    return this.#fallthrough.some((zone) => isWithin(folded, zone));
  }

  #inside({ outcome, zone }: Lookup, source: Source): Answer {
    const sources = [source];
    if (outcome.kind === 'records') {
      const { answers, additionals } = outcome;
      return { flags: FLAG.AA, answers, authorities: [], additionals, sources };
    }
    const denial = this.#feed.hasSynced() ? RCODE.NXDOMAIN : RCODE.SERVFAIL;
    const rcode = outcome.kind === 'missing' ? denial : RCODE.NOERROR;
    const authorities = [soaRecord(this.zones, zone)];
    return { flags: FLAG.AA | rcode, answers: [], authorities, additionals: [], sources };
  }

  /** An alias to a name outside: what is found there follows it; a failure does not (D44). */
  #alias(ask: Ask, aliases: readonly ResourceRecord[], target: Name): Answered {
    const { query } = ask;
    const source = sourceOf(query.question.name);
    const finish = (found: Answer): Answer => {
      const good = rcodeOf(found) === RCODE.NOERROR;
      return {
        flags: FLAG.AA | (found.flags & FLAG.TC),
        answers: good ? [...aliases, ...spelled(found.answers, target)] : aliases,
        authorities: [],
        additionals: [],
        sources: [source, ...found.sources],
      };
    };
    const question = { ...query.question, name: target };
    return whenDone(ask.server.resolve(asking(ask, question, query.flags | FLAG.RD)), finish);
  }
}

function sourceOf(name: Name): Source {
  return { stage: 'kubernetes', detail: () => formatName(name) };
}
