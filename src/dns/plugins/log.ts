/** `log`: a line for each question (D101). */
import type { Clock } from '../../lib/clock.ts';
import type { LogClass, LogSettings } from '../config/types.ts';
import { whenDone, type Answer, type Ask, type Stage } from '../stage.ts';
import {
  FLAG,
  headerBytes,
  messageBytesMax,
  OPCODE,
  opcodeOf,
  plainUdpBytesMax,
  RCODE,
  rcodeOf,
  TYPE,
  type ResourceRecord,
} from '../wire/message.ts';
import { foldCase, formatName, isWithin } from '../wire/name.ts';
import { formatClass, formatRcode, formatType } from '../wire/text.ts';

export function logStage(
  { rules }: LogSettings,
  { clock, print }: { readonly clock: Clock; readonly print: (line: string) => void },
): Stage {
  return {
    name: 'log',
    answer: (ask, next) => {
      const folded = foldCase(ask.query.question.name);
      const rule = rules.find(({ zone }) => isWithin(folded, zone));
      if (rule === undefined) return next(ask);
      const startedMs = clock.monotonicMs();
      return whenDone(next(ask), (answer) => {
        if (rule.classes.has('all') || rule.classes.has(classOf(ask, answer))) {
          const seconds = (clock.monotonicMs() - startedMs) / 1000;
          print(`[INFO] ${logLine(rule.format, { ask, answer, seconds })}`);
        }
        return answer;
      });
    },
  };
}

/** As CoreDNS sorts replies (plugin/pkg/response). */
export function classOf({ query }: Ask, answer: Answer): LogClass {
  const { type } = query.question;
  if (opcodeOf(query) !== OPCODE.QUERY || type === TYPE.AXFR || type === TYPE.IXFR) return 'error';
  const rcode = rcodeOf(answer);
  if (rcode === RCODE.NXDOMAIN) return answer.answers.length > 0 ? 'error' : 'denial';
  if (rcode !== RCODE.NOERROR) return 'error';
  if (answer.answers.length > 0) return 'success';
  return answer.authorities.some((record) => record.type === TYPE.SOA) ? 'denial' : 'success';
}

type Facts = { readonly ask: Ask; readonly answer: Answer; readonly seconds: number };

/** Fills the placeholders of a format; one that nobody knows stays as it is. */
function logLine(format: string, facts: Facts): string {
  return format.replaceAll(/\{(>?[a-z/]+)\}/g, (whole, name: string) => {
    return Object.hasOwn(placeholders, name) ? placeholders[name]!(facts) : whole;
  });
}

const placeholders: Record<string, (facts: Facts) => string> = {
  remote: ({ ask }) => bracketed(ask.from.address),
  port: ({ ask }) => String(ask.from.port),
  local: ({ ask }) => bracketed(ask.server.host),
  '>id': ({ ask }) => String(ask.query.id),
  '>opcode': ({ ask }) => String(opcodeOf(ask.query)),
  type: ({ ask }) => formatType(ask.query.question.type),
  class: ({ ask }) => formatClass(ask.query.question.class),
  name: ({ ask }) => formatName(foldCase(ask.query.question.name)),
  proto: ({ ask }) => (ask.transport === 'udp' ? 'udp' : 'tcp'),
  size: ({ ask }) => String(ask.bytes),
  '>do': ({ ask }) => String(ask.query.edns?.dnssecOk === true),
  '>bufsize': ({ ask }) => String(bufferBytes(ask)),
  rcode: ({ answer }) => formatRcode(rcodeOf(answer)),
  '>rflags': ({ ask, answer }) => flagsText(ask, answer),
  rsize: ({ ask, answer }) => String(answerBytes(ask, answer)),
  duration: ({ seconds }) => `${Number(seconds.toFixed(9))}s`,
};

function bracketed(address: string): string {
  return address.includes(':') ? `[${address}]` : address;
}

function bufferBytes({ transport, query }: Ask): number {
  if (transport !== 'udp') return messageBytesMax;
  return Math.max(plainUdpBytesMax, query.edns?.udpBytes ?? 0);
}

/** In the order of the header's bits. */
function flagsText({ query }: Ask, answer: Answer): string {
  const copied = opcodeOf(query) === OPCODE.QUERY ? FLAG.RD | FLAG.CD : 0;
  const flags = FLAG.QR | answer.flags | (query.flags & copied);
  const names = (['QR', 'AA', 'TC', 'RD', 'RA', 'AD', 'CD'] as const).filter(
    (name) => (flags & FLAG[name]) !== 0,
  );
  return names.join(',').toLowerCase();
}

/** Bytes of the whole reply before names are compressed and records left out, as CoreDNS counts. */
export function answerBytes({ query }: Ask, answer: Answer): number {
  const sum = (records: readonly ResourceRecord[]) =>
    records.reduce((total, { name, data }) => {
      return data.reduce((size, part) => size + part.length, total + name.length + 10);
    }, 0);
  const { answers, authorities, additionals } = answer;
  const question = query.question.name.length + 4;
  return headerBytes + question + sum(answers) + sum(authorities) + sum(additionals);
}
