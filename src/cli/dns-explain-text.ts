/** An explanation of a name as a person reads it. */
import type { Evidence } from '../dns/explain/evidence.ts';
import type { Walk } from '../dns/explain/explain.ts';
import type { Step } from '../dns/explain/trace.ts';
import type { Report } from './dns-explain.ts';

/** Several lines, the most telling ones first. */
export function explanationText(report: Report): string {
  const { steps, evidence, walks } = report;
  const lines = [
    headOf(report),
    ...resolverLines(report),
    '',
    ...steps
      .map((step, index) => block(step, evidence[index]!, report))
      .reduce(joined, [])
      .flatMap(({ name, types, lines }) => [`  ${name} ${types.join(' and ')}`, ...lines]),
    '',
    ...walkLines(walks),
  ];
  return lines.join('\n');
}

function headOf({ name, pod, namespace, walks }: Report): string {
  const where =
    pod === undefined ? `a pod of Namespace "${namespace}"` : `pod "${namespace}/${pod}"`;
  const answered = walks.filter(({ status }) => status === 'answered').length;
  const verdict =
    answered === walks.length
      ? 'is found'
      : answered === 0
        ? 'is not found'
        : 'is found by some only';
  return `"${name}", typed in ${where}, ${verdict}`;
}

function resolverLines({ resolver, dnsPolicy, asked }: Report): string[] {
  const { nameservers, searches, ndots } = resolver;
  return [
    `  dnsPolicy   ${dnsPolicy}`,
    `  nameserver  ${nameservers.join(' ') || "the node's own, which are not known here"}`,
    `  search      ${searches.join(' ') || 'nothing'}`,
    `  ndots       ${ndots}`,
    `  answers     ${asked.server === undefined ? 'worked out from the API: no DNS server with /explain can be reached' : `of the DNS server at ${asked.server}`}`,
  ];
}

/** What is to be said of a question. */
type Block = { readonly name: string; readonly types: string[]; readonly lines: string[] };

function block(step: Step, evidence: Evidence, report: Report): Block {
  const { name, type } = step;
  return { name, types: [type], lines: stepLines(step, evidence, report) };
}

/** Types of a name with the same to say about them share it. */
function joined(blocks: readonly Block[], next: Block): Block[] {
  const last = blocks.at(-1);
  if (last?.name === next.name && last.lines.join('\n') === next.lines.join('\n')) {
    return [...blocks.slice(0, -1), { ...last, types: [...last.types, ...next.types] }];
  }
  return [...blocks, next];
}

function stepLines(step: Step, { objects, reasons, hints }: Evidence, { asked }: Report): string[] {
  const result = step.records.length > 0 ? step.records : [resultText(step)];
  const isOutside = asked.server === undefined && step.place === undefined;
  const shown = isOutside ? ['not asked: the DNS server would ask its own upstream'] : result;
  return [
    ...shown.map((line) => `    ${line}`),
    ...objects.map(
      ({ kind, namespace, name, resourceVersion, what }) =>
        `      from ${kind} ${namespace === undefined ? '' : `${namespace}/`}${name} (resourceVersion ${resourceVersion}): ${what}`,
    ),
    ...(isOutside ? [] : sourceLines(step)),
    ...reasons.map((reason) => `      ${reason}`),
    ...hints.map((hint) => `      ${hint}`),
  ];
}

function resultText({ status, rcode, error }: Step): string {
  if (status === 'missing') return 'NXDOMAIN: no such name';
  if (status === 'empty') return 'NODATA: the name is there, and has no such record';
  return error === undefined ? rcode : `${rcode}: ${error}`;
}

/** Where an answer comes from that is not in the cluster's zones. */
function sourceLines({ sources }: Step): string[] {
  return sources
    .filter(({ stage }) => stage !== 'kubernetes' && stage !== 'server')
    .map(({ stage, detail }) => {
      const what = detail === undefined ? '' : `: ${detail}`;
      return stage === 'forward' ? `      from upstream${what}` : `      from ${stage}${what}`;
    });
}

function walkLines(walks: readonly Walk[]): string[] {
  return walks.map(({ libc, asked, notAsked, status }) => {
    const count = asked.length === 1 ? 'the first name' : `${asked.length} names`;
    const last = asked.at(-1) ?? '';
    const outcome = {
      answered: `${last} answers, after ${count}`,
      missing: `none of ${count} exists`,
      empty: `${last} is empty`,
      failed: `${last} fails`,
    }[status];
    const stops =
      libc === 'musl' && status !== 'answered' && notAsked.length > 0
        ? `; musl does not go on to ${notAsked[0]}`
        : '';
    return `  ${libc.padEnd(6)} ${outcome}${stops}`;
  });
}
