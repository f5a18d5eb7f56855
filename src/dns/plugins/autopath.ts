/** `autopath`: the search list of the client is gone through here, in one question (D103). */
import type { AutopathSettings } from '../config/types.ts';
import {
  asking,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Stage,
  type StageMetric,
} from '../stage.ts';
import { RCODE, rcodeOf, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, nameBytesMax, root, type Name } from '../wire/name.ts';

export type AutopathOptions = {
  readonly settings: AutopathSettings;
  /** The search list of the pod that asks; undefined when nobody knows it. */
  readonly searchOf: (ask: Ask) => readonly Name[] | undefined;
};

export class AutopathStage implements Stage {
  readonly name = 'autopath';
  readonly #options: AutopathOptions;
  /** Answers found on the way, for metrics. */
  successes = 0;

  constructor(options: AutopathOptions) {
    this.#options = options;
  }

  metrics({ server }: { readonly server: string }): readonly StageMetric[] {
    const help = 'Questions whose search list was gone through here';
    const name = 'coredns_autopath_success_total';
    return [{ name, help, kind: 'counter', labels: { server }, value: this.successes }];
  }

  answer(ask: Ask, next: Next): Answered {
    const { settings, searchOf } = this.#options;
    const { name } = ask.query.question;
    const folded = foldCase(name);
    if (!settings.zones.some((zone) => isWithin(folded, zone))) return next(ask);
    const search = settings.search === 'kubernetes' ? searchOf(ask) : settings.search;
    const [first] = search ?? [];
    if (search === undefined || first === undefined || !isWithin(folded, first)) return next(ask);
    return this.#walk(ask, search, next);
  }

  /** The first answer that is no denial, or else the first of all. */
  async #walk(ask: Ask, search: readonly Name[], next: Next): Promise<Answer> {
    const { question } = ask.query;
    const base = question.name.slice(0, -search[0]!.length);
    let first: Answer | undefined;
    for (const suffix of [...search, root]) {
      const name = base + suffix;
      if (name.length > nameBytesMax) continue;
      const answer = await next(asking(ask, { ...question, name }));
      if (answer.error !== undefined) return answer;
      first ??= answer;
      const rcode = rcodeOf(answer);
      if (rcode !== RCODE.NOERROR) continue;
      this.successes += 1;
      return withAlias(answer, question.name);
    }
    return first!;
  }
}

/** An alias from the name that was asked to the one that was found. */
function withAlias(answer: Answer, asked: Name): Answer {
  const other = answer.answers.find(({ name }) => foldCase(name) !== foldCase(asked));
  const sources = [...answer.sources, { stage: 'autopath' }];
  if (other === undefined) return { ...answer, sources };
  const { class: recordClass, ttl, name } = other;
  const alias: ResourceRecord = {
    name: asked,
    type: TYPE.CNAME,
    class: recordClass,
    ttl,
    data: [name],
  };
  return { ...answer, answers: [alias, ...answer.answers], sources };
}
