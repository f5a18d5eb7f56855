/** Bytes of a request body to an object: JSON, YAML and Kubernetes protobuf (A21-A23). */
import { createRequire } from 'node:module';

import { messageOf } from '../lib/errors.ts';
import { duplicateFields } from './json-duplicates.ts';
import { decodeKubernetesProtobuf } from './protobuf.ts';
import { failure } from './status.ts';

/** A body as the client sent it; `duplicates` are the paths of JSON or YAML fields set twice. */
export type Decoded = {
  readonly object: Record<string, unknown>;
  readonly apiVersion: string;
  readonly kind: string;
  readonly duplicates: readonly string[];
};

const supported = [
  'application/json',
  'application/yaml',
  'application/vnd.kubernetes.protobuf',
] as const;

/** Reads a body; an absent content type means JSON. Throws 400 on bad bytes, 415 on other types. */
export function decodeBody(contentType: string | undefined, bytes: Uint8Array): Decoded {
  const type = (contentType ?? '').split(';')[0]?.trim().toLowerCase() ?? '';
  switch (type) {
    case '':
    case 'application/json':
      return decodeJson(bytes);
    case 'application/yaml':
    case 'application/x-yaml':
    case 'text/yaml':
      return decodeYaml(bytes);
    case 'application/vnd.kubernetes.protobuf':
      return { ...decodeKubernetesProtobuf(bytes), duplicates: [] };
    default:
      throw failure(
        415,
        'UnsupportedMediaType',
        'the body of the request was in an unknown format - accepted media types include: ' +
          supported.join(', '),
      );
  }
}

function decodeJson(bytes: Uint8Array): Decoded {
  const text = utf8(bytes);
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw badBody(`the body is no JSON: ${messageOf(error)}`);
  }
  let found: string[] | undefined;
  return {
    ...typed(value),
    // Looked for only when somebody asks: `fieldValidation=Ignore` does not.
    get duplicates() {
      return (found ??= duplicateFields(text));
    },
  };
}

type Yaml = typeof import('yaml');
let yaml: Yaml | undefined;

function decodeYaml(bytes: Uint8Array): Decoded {
  // Loaded on first use: kubectl turns YAML into JSON itself, so most servers never need it.
  yaml ??= createRequire(import.meta.url)('yaml') as Yaml;
  const duplicates: string[] = [];
  try {
    const document = yaml.parseDocument(utf8(bytes), { uniqueKeys: false });
    if (document.errors[0] !== undefined) throw document.errors[0];
    findYamlDuplicates(yaml, document.contents, '', duplicates);
    return { ...typed(document.toJS({ maxAliasCount: 100 })), duplicates };
  } catch (error) {
    throw badBody(`the body is no YAML: ${messageOf(error)}`);
  }
}

function findYamlDuplicates(yaml: Yaml, node: unknown, path: string, found: string[]): void {
  if (yaml.isSeq(node)) {
    node.items.forEach((item, index) => findYamlDuplicates(yaml, item, `${path}[${index}]`, found));
  } else if (yaml.isMap(node)) {
    const seen = new Set<string>();
    for (const { key, value } of node.items) {
      const name = yaml.isScalar(key) ? String(key.value) : String(key);
      const inner = path === '' ? name : `${path}.${name}`;
      if (seen.has(name)) found.push(inner);
      seen.add(name);
      findYamlDuplicates(yaml, value, inner, found);
    }
  }
}

function utf8(bytes: Uint8Array): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes);
  } catch (error) {
    throw badBody(`the body is no UTF-8: ${messageOf(error)}`);
  }
}

function typed(value: unknown): Pick<Decoded, 'object' | 'apiVersion' | 'kind'> {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw badBody('the body is no object');
  }
  const { apiVersion = '', kind = '' } = value as { apiVersion?: unknown; kind?: unknown };
  if (typeof apiVersion !== 'string' || typeof kind !== 'string') {
    throw badBody('the fields "apiVersion" and "kind" must be text');
  }
  return { object: value as Record<string, unknown>, apiVersion, kind };
}

function badBody(found: string): Error {
  return failure(400, 'BadRequest', `Cannot read request body: ${found}`);
}
