/** What form of answer a client takes (A24-A28). */
import { failure } from '../../api/status.ts';

export type Form = {
  readonly encoding: 'json' | 'yaml';
  readonly as: 'object' | 'Table' | 'PartialObjectMetadata' | 'PartialObjectMetadataList';
  /** Of `as`, when it is not `object`. */
  readonly version: 'v1' | 'v1beta1';
};

const PLAIN_JSON: Form = { encoding: 'json', as: 'object', version: 'v1' };
const SHAPES = new Set(['Table', 'PartialObjectMetadata', 'PartialObjectMetadataList']);

export type Clause = { readonly type: string; readonly params: ReadonlyMap<string, string> };

/** The clauses of an Accept header, best first; equal weights keep their order. */
export function parseAccept(header: string | undefined): Clause[] {
  const clauses = (header ?? '').split(',').flatMap((text) => {
    const [type = '', ...rest] = text.split(';').map((part) => part.trim());
    if (type === '') return [];
    const params = new Map(
      rest.map((part): [string, string] => {
        const at = part.indexOf('=');
        return at < 0 ? [part, ''] : [part.slice(0, at), part.slice(at + 1)];
      }),
    );
    return [{ type: type.toLowerCase(), params, weight: Number(params.get('q') ?? 1) }];
  });
  return clauses.filter(({ weight }) => weight > 0).sort((a, b) => b.weight - a.weight);
}

/** The first form we can make; 406 when there is none. */
export function negotiate(header: string | undefined): Form {
  const clauses = parseAccept(header);
  if (clauses.length === 0) return PLAIN_JSON;
  for (const clause of clauses) {
    const form = formOf(clause);
    if (form !== undefined) return form;
  }
  throw notAcceptable(
    'application/json, application/yaml, application/json;as=Table;v=v1;g=meta.k8s.io',
  );
}

export function notAcceptable(types: string): Error {
  return failure(406, 'NotAcceptable', `only the following media types are accepted: ${types}`);
}

function formOf({ type, params }: Clause): Form | undefined {
  const encoding = ENCODINGS.get(type);
  if (encoding === undefined) return undefined;
  const as = params.get('as');
  if (as === undefined) return { ...PLAIN_JSON, encoding };
  const version = params.get('v');
  if (params.get('g') !== 'meta.k8s.io' || !SHAPES.has(as)) return undefined;
  if (version !== 'v1' && version !== 'v1beta1') return undefined;
  return { encoding, as: as as Form['as'], version };
}

const ENCODINGS = new Map<string, Form['encoding']>([
  ['application/json', 'json'],
  ['application/*', 'json'],
  ['*/*', 'json'],
  ['application/yaml', 'yaml'],
]);
