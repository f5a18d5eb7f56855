/** Label and field selectors (A71-A73). Parsed once, matched often. */
import type { KubeObject, LabelSelector } from './meta.ts';
import type { Resource } from './resources.ts';
import { failure, type ApiError } from './status.ts';

export type LabelRequirement = {
  readonly key: string;
  readonly operator: 'In' | 'NotIn' | 'Exists' | 'DoesNotExist' | 'Gt' | 'Lt';
  readonly values: readonly string[];
};

export type FieldRequirement = {
  readonly field: string;
  readonly equals: boolean;
  readonly value: string;
};

// ---- labels: text

/** The text of `labelSelector`, empty for none; throws 400 on bad syntax. */
export function parseLabelSelector(text: string): LabelRequirement[] {
  const tokens = tokensOf(text);
  const requirements: LabelRequirement[] = [];
  if (tokens.length === 0) return requirements;
  for (;;) {
    requirements.push(parseRequirement(tokens));
    const next = tokens.shift();
    if (next === undefined) return requirements;
    if (next !== ',') throw syntax(`found '${next}', expected: ',' or 'end of string'`);
  }
}

function tokensOf(text: string): string[] {
  return text.match(/==|!=|[=!(),<>]|[^\s=!(),<>]+/g) ?? [];
}

const isWord = (token: string | undefined): token is string =>
  token !== undefined && !/^[=!(),<>]/.test(token);

function parseRequirement(tokens: string[]): LabelRequirement {
  const first = tokens.shift();
  const isNegated = first === '!';
  const key = isNegated ? tokens.shift() : first;
  if (!isWord(key))
    throw syntax(`found '${key ?? ''}', expected: !, identifier, or 'end of string'`);
  checkKey(key);
  const next = tokens[0];
  if (isNegated) return { key, operator: 'DoesNotExist', values: [] };
  if (next === undefined || next === ',') return { key, operator: 'Exists', values: [] };
  tokens.shift();
  switch (next) {
    case '=':
    case '==':
      return { key, operator: 'In', values: [parseValue(tokens)] };
    case '!=':
      return { key, operator: 'NotIn', values: [parseValue(tokens)] };
    case 'in':
    case 'notin':
      return { key, operator: next === 'in' ? 'In' : 'NotIn', values: parseValues(tokens) };
    case '>':
    case '<':
      return { key, operator: next === '>' ? 'Gt' : 'Lt', values: [parseInteger(tokens)] };
    default:
      throw syntax(`found '${next}', expected: in, notin, =, ==, !=, gt, lt`);
  }
}

/** What follows `=`; nothing there is the empty value. */
function parseValue(tokens: string[]): string {
  if (!isWord(tokens[0])) return '';
  return checkValue(tokens.shift()!);
}

function parseValues(tokens: string[]): string[] {
  if (tokens.shift() !== '(') throw syntax("found no list, expected: '('");
  const values: string[] = [];
  for (;;) {
    values.push(parseValue(tokens));
    const next = tokens.shift();
    if (next === ')') return [...new Set(values)].sort();
    if (next !== ',') throw syntax(`found '${next ?? ''}', expected: ',' or ')'`);
  }
}

function parseInteger(tokens: string[]): string {
  const value = tokens.shift() ?? '';
  if (!/^-?\d+$/.test(value)) {
    throw syntax(
      "values[0]: Invalid value: for 'Gt', 'Lt' operators, the value must be an integer",
    );
  }
  return value;
}

function checkKey(key: string): void {
  const [name = '', prefix, ...rest] = key.split('/').reverse();
  const isName = name.length <= 63 && /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(name);
  const isPrefix =
    prefix === undefined ||
    (prefix.length <= 253 && /^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$/.test(prefix));
  if (!isName || !isPrefix || rest.length > 0) {
    throw syntax(`key: Invalid value: "${key}": name part must be a qualified label name`);
  }
}

function checkValue(value: string): string {
  if (value.length <= 63 && /^[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?$/.test(value)) return value;
  throw syntax(`values[0]: Invalid value: "${value}": a valid label must be an alphanumeric text`);
}

function syntax(found: string): ApiError {
  return failure(400, 'BadRequest', `unable to parse requirement: ${found}`);
}

// ---- labels: matching

/** Whether labels meet every requirement; `!=` and `notin` match labels that lack the key. */
export function matchesLabels(
  requirements: readonly LabelRequirement[],
  labels: Record<string, string> | undefined,
): boolean {
  return requirements.every((requirement) => meets(requirement, ownLabel(labels, requirement.key)));
}

/** A key such as `constructor` is a label only where somebody set it. */
function ownLabel(labels: Record<string, string> | undefined, key: string): string | undefined {
  return labels !== undefined && Object.hasOwn(labels, key) ? labels[key] : undefined;
}

function meets({ operator, values }: LabelRequirement, value: string | undefined): boolean {
  switch (operator) {
    case 'In':
      return value !== undefined && values.includes(value);
    case 'NotIn':
      return value === undefined || !values.includes(value);
    case 'Exists':
      return value !== undefined;
    case 'DoesNotExist':
      return value === undefined;
    case 'Gt':
      return value !== undefined && /^-?\d+$/.test(value) && Number(value) > Number(values[0]);
    default:
      return value !== undefined && /^-?\d+$/.test(value) && Number(value) < Number(values[0]);
  }
}

/** The requirements of a LabelSelector object; empty for one that matches all, undefined for an absent one, which matches nothing. */
export function requirementsOf(
  selector: LabelSelector | undefined,
): LabelRequirement[] | undefined {
  if (selector === undefined) return undefined;
  return [
    ...Object.entries(selector.matchLabels ?? {})
      .sort(([a], [b]) => (a < b ? -1 : 1))
      .map(([key, value]): LabelRequirement => ({ key, operator: 'In', values: [value] })),
    ...(selector.matchExpressions ?? []).map(({ key, operator, values }): LabelRequirement => ({
      key,
      operator,
      values: values ?? [],
    })),
  ];
}

/** Whether a LabelSelector object selects the labels; an absent selector selects nothing. */
export function selects(
  selector: LabelSelector | undefined,
  labels: Record<string, string> | undefined,
): boolean {
  const requirements = requirementsOf(selector);
  return requirements !== undefined && matchesLabels(requirements, labels);
}

/** `a=b,c in (d,e)`: the text of a LabelSelector object, as Scale.status.selector carries it. */
export function formatLabelSelector(selector: LabelSelector | undefined): string {
  return (requirementsOf(selector) ?? []).map(formatRequirement).join(',');
}

function formatRequirement({ key, operator, values }: LabelRequirement): string {
  switch (operator) {
    case 'In':
      return values.length === 1 ? `${key}=${values[0]}` : `${key} in (${sorted(values)})`;
    case 'NotIn':
      return values.length === 1 ? `${key}!=${values[0]}` : `${key} notin (${sorted(values)})`;
    case 'Exists':
      return key;
    case 'DoesNotExist':
      return `!${key}`;
    case 'Gt':
      return `${key}>${values[0]}`;
    default:
      return `${key}<${values[0]}`;
  }
}

function sorted(values: readonly string[]): string {
  return [...values].sort().join(',');
}

// ---- fields

/** What a resource can be selected by, besides metadata.name and metadata.namespace (A73). */
const selectable: Record<string, readonly string[]> = {
  pods: [
    'spec.nodeName',
    'spec.restartPolicy',
    'spec.schedulerName',
    'spec.serviceAccountName',
    'spec.hostNetwork',
    'status.phase',
    'status.podIP',
    'status.podIPs',
    'status.nominatedNodeName',
  ],
  services: ['spec.clusterIP', 'spec.type'],
  nodes: ['spec.unschedulable'],
  namespaces: ['status.phase'],
  secrets: ['type'],
  replicasets: ['status.replicas'],
  events: [
    'involvedObject.kind',
    'involvedObject.namespace',
    'involvedObject.name',
    'involvedObject.uid',
    'involvedObject.apiVersion',
    'involvedObject.resourceVersion',
    'involvedObject.fieldPath',
    'reason',
    'reportingComponent',
    'source',
    'type',
  ],
};

/** The text of `fieldSelector`; throws 400 on bad syntax or a field the resource does not select by. */
export function parseFieldSelector(resource: Resource, text: string): FieldRequirement[] {
  return splitTerms(text).map((term) => {
    const match = /^([^=!]*)(!=|==|=)(.*)$/s.exec(term);
    if (match === null) {
      throw failure(400, 'BadRequest', `invalid selector: '${text}'; can't understand '${term}'`);
    }
    const [, field = '', operator, value = ''] = match;
    checkField(resource, field);
    return { field, equals: operator !== '!=', value: unescape(value, text) };
  });
}

/** Cuts at commas that no backslash escapes. */
function splitTerms(text: string): string[] {
  return (text.match(/(?:\\.|[^,\\])+/gs) ?? []).filter((term) => term.trim() !== '');
}

function unescape(value: string, text: string): string {
  const bad = /\\(?![\\,=])|(?<!\\)=/.exec(value.replaceAll('\\\\', ''));
  if (bad !== null) {
    throw failure(400, 'BadRequest', `invalid field selector: ${text}: bad value "${value}"`);
  }
  return value.replaceAll(/\\(.)/gs, '$1');
}

function checkField(resource: Resource, field: string): void {
  if (field === 'metadata.name') return;
  if (field === 'metadata.namespace' && resource.namespaced) return;
  if (selectable[resource.resource]?.includes(field)) return;
  const message =
    selectable[resource.resource] === undefined
      ? `"${field}" is not a known field selector: only "metadata.name", "metadata.namespace"`
      : `field label not supported: ${field}`;
  throw failure(400, 'BadRequest', message);
}

/** Whether an object meets every requirement; an absent field counts as the empty text, or `false`. */
export function matchesFields(
  requirements: readonly FieldRequirement[],
  object: KubeObject,
): boolean {
  return requirements.every(({ field, equals, value }) => {
    const found = valuesAt(object, field);
    return found.includes(value) === equals;
  });
}

const booleans = new Set(['spec.hostNetwork', 'spec.unschedulable']);

/** The texts a field has; only `status.podIPs` has several. */
function valuesAt(object: KubeObject, field: string): string[] {
  let value: unknown = object;
  for (const name of field.split('.'))
    value = (value as Record<string, unknown> | undefined)?.[name];
  if (field === 'status.podIPs') {
    return ((value ?? []) as { ip: string }[]).map(({ ip }) => ip);
  }
  // An event's source is its component, in the old place or the new one.
  if (field === 'source') {
    const { source, reportingComponent } = object as {
      source?: { component?: string };
      reportingComponent?: string;
    };
    return [source?.component || reportingComponent || ''];
  }
  if (booleans.has(field)) return [String(value === true)];
  return [typeof value === 'string' || typeof value === 'number' ? String(value) : ''];
}
