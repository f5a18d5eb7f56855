/** `template`: answers made from the name that was asked. */
import { messageOf } from '../../lib/errors.ts';
import type { GoTemplate, TemplateFacts } from '../config/go-template.ts';
import type { TemplateSettings } from '../config/types.ts';
import {
  failure,
  follow,
  type Answer,
  type Answered,
  type Ask,
  type Next,
  type Stage,
  type StageMetric,
} from '../stage.ts';
import { CLASS, FLAG, RCODE, TYPE, type ResourceRecord } from '../wire/message.ts';
import { foldCase, formatName, isWithin, type Name } from '../wire/name.ts';
import { parseRecord } from '../wire/parse-record.ts';
import { formatClass, formatType } from '../wire/text.ts';
import { plainAddress } from './acl.ts';

const source = { stage: 'template' };

export function templateStage(templates: readonly TemplateSettings[]): Stage {
  /** By zone of the template, and class and type that were asked. */
  const counts = new Map<string, number>();
  const count = ({ Zone, Class, Type }: TemplateFacts) => {
    // Types come from clients: those without a name share a row, as in CoreDNS.
    const key = `${Zone} ${Class} ${Type.startsWith('TYPE') ? '' : Type}`;
    counts.set(key, (counts.get(key) ?? 0) + 1);
  };
  const answer = (ask: Ask, next: Next): Answered => {
    for (const template of templates) {
      const found = matchOf(template, ask);
      if (found === 'other') continue;
      if (found !== 'failed') count(found);
      if (found === 'failed') return failure(RCODE.SERVFAIL, source);
      return answerFrom(template, found, ask);
    }
    return next(ask);
  };
  const metrics: Stage['metrics'] = ({ server, view }) =>
    [...counts].map(([key, value]): StageMetric => {
      const [zone = '', ofClass = '', type = ''] = key.split(' ');
      return {
        name: 'coredns_template_matches_total',
        help: 'Questions that a template fits',
        kind: 'counter',
        labels: { server, zone, view, class: ofClass, type },
        value,
      };
    });
  return { name: 'template', answer, metrics };
}

/** `other`: the next one may fit. `failed`: the zone is ours, and no pattern matches. */
function matchOf(template: TemplateSettings, ask: Ask): TemplateFacts | 'other' | 'failed' {
  const { question } = ask.query;
  const folded = foldCase(question.name);
  const zone = longest(template.zones.filter((candidate) => isWithin(folded, candidate)));
  if (zone === undefined) return 'other';
  if (!covers(template.class, question.class, CLASS.ANY)) return 'other';
  if (!covers(template.type, question.type, TYPE.ANY)) return 'other';
  const name = formatName(folded);
  for (const pattern of template.patterns) {
    const match = pattern.exec(name);
    if (match !== null) return factsOf(template, { ask, zone, name, match });
  }
  return template.fallthrough.some((through) => isWithin(folded, through)) ? 'other' : 'failed';
}

function longest(zones: readonly Name[]): Name | undefined {
  return zones.toSorted((a, b) => b.length - a.length)[0];
}

function covers(ours: number, asked: number, any: number): boolean {
  return ours === any || asked === any || ours === asked;
}

function factsOf(
  template: TemplateSettings,
  found: { ask: Ask; zone: Name; name: string; match: RegExpExecArray },
): TemplateFacts {
  const { question } = found.ask.query;
  const groups = [...found.match].map((text) => text ?? '');
  return {
    Zone: formatName(found.zone),
    Name: found.name,
    Class: formatClass(question.class === CLASS.ANY ? template.class : question.class),
    Type: formatType(question.type === TYPE.ANY ? template.type : question.type),
    Remote: plainAddress(found.ask.from.address),
    Match: groups,
    Group: { ...Object.fromEntries(groups.entries()), ...found.match.groups },
  };
}

async function answerFrom(
  template: TemplateSettings,
  facts: TemplateFacts,
  ask: Ask,
): Promise<Answer> {
  if (template.rcode === RCODE.SERVFAIL) return failure(RCODE.SERVFAIL, source);
  try {
    const records = (templates: readonly GoTemplate[]) =>
      templates.map(({ fill }) => parseRecord(fill(facts)));
    const followed = await followAliases(records(template.answers), ask);
    return {
      flags: FLAG.AA | template.rcode | (followed.isCut ? FLAG.TC : 0),
      answers: followed.answers,
      authorities: records(template.authorities),
      additionals: records(template.additionals),
      sources: [source],
      ...(template.extendedError && { extendedError: template.extendedError }),
    };
  } catch (error) {
    return failure(RCODE.SERVFAIL, source, messageOf(error));
  }
}

/** What an alias leads to follows it, where addresses were asked for. */
async function followAliases(records: readonly ResourceRecord[], ask: Ask) {
  const { question } = ask.query;
  const answers: ResourceRecord[] = [];
  let isCut = false;
  for (const record of records) {
    answers.push(record);
    const isAddress = question.type === TYPE.A || question.type === TYPE.AAAA;
    if (!isAddress || record.type !== TYPE.CNAME) continue;
    const target = String(record.data[0]);
    const found = await follow(ask, { ...question, name: target });
    answers.push(...found.answers);
    isCut ||= (found.flags & FLAG.TC) !== 0;
  }
  return { answers, isCut };
}
