/** The paths of every resource, as operations both OpenAPI dialects are made from (A14, A18). */
import { subresourceKindOf, subresourceVerbsOf, verbsOf } from '../discovery.ts';
import { apiVersionOf, type Resource } from '../resources.ts';

export type Method = 'get' | 'put' | 'post' | 'patch' | 'delete';

export type Operation = {
  readonly path: string;
  readonly method: Method;
  readonly id: string;
  readonly action: string;
  readonly gvk: { group: string; version: string; kind: string };
  /** Names in braces within the path. */
  readonly pathParameters: readonly string[];
  readonly queryParameters: readonly string[];
  /** The kind of the body sent and of the answer. */
  readonly body: { group: string; version: string; kind: string };
};

const writeParameters = ['dryRun', 'fieldManager', 'fieldValidation', 'pretty'];
const listParameters = [
  'allowWatchBookmarks',
  'continue',
  'fieldSelector',
  'labelSelector',
  'limit',
  'resourceVersion',
  'resourceVersionMatch',
  'sendInitialEvents',
  'timeoutSeconds',
  'watch',
  'pretty',
];

/** What each verb is on a path: its method, its action and its query parameters. */
const onCollection = {
  list: { method: 'get', action: 'list', query: listParameters },
  create: { method: 'post', action: 'post', query: writeParameters },
  deletecollection: { method: 'delete', action: 'deletecollection', query: listParameters },
} as const;

const onItem = {
  get: { method: 'get', action: 'get', query: ['pretty'] },
  update: { method: 'put', action: 'put', query: writeParameters },
  patch: { method: 'patch', action: 'patch', query: [...writeParameters, 'force'] },
  delete: {
    method: 'delete',
    action: 'delete',
    query: ['dryRun', 'gracePeriodSeconds', 'propagationPolicy', 'pretty'],
  },
  create: { method: 'post', action: 'post', query: writeParameters },
} as const;

/** `/api/v1` or `/apis/apps/v1`. */
export function rootOf(resource: Pick<Resource, 'group' | 'version'>): string {
  return `/${groupVersionPath(resource)}`;
}

/** `api/v1` or `apis/apps/v1`, as OpenAPI 3 names its documents. */
export function groupVersionPath(resource: Pick<Resource, 'group' | 'version'>): string {
  const text = apiVersionOf(resource);
  return resource.group === '' ? `api/${text}` : `apis/${text}`;
}

/** Every operation of a resource and its subresources. */
export function operationsOf(resource: Resource): Operation[] {
  const root = rootOf(resource);
  const scope = resource.namespaced ? '/namespaces/{namespace}' : '';
  const collection = `${root}${scope}/${resource.resource}`;
  const verbs = verbsOf(resource);
  const operations: Operation[] = [];
  for (const [verb, how] of Object.entries(onCollection)) {
    if (verbs.includes(verb)) operations.push(operation(resource, collection, how));
  }
  if (resource.createOnly === true) return operations;
  if (resource.namespaced) {
    operations.push(operation(resource, `${root}/${resource.resource}`, onCollection.list));
  }
  const item = `${collection}/{name}`;
  for (const [verb, how] of Object.entries(onItem)) {
    if (verb !== 'create') operations.push(operation(resource, item, how));
  }
  for (const subresource of resource.subresources ?? []) {
    for (const verb of subresourceVerbsOf(subresource)) {
      const how = onItem[verb as keyof typeof onItem];
      operations.push(operation(resource, `${item}/${subresource}`, how, subresource));
    }
  }
  return operations;
}

function operation(
  resource: Resource,
  path: string,
  how: { method: Method; action: string; query: readonly string[] },
  subresource = '',
): Operation {
  const { group, version, kind } = resource;
  const gvk =
    subresource === '' ? { group, version, kind } : subresourceKindOf(resource, subresource);
  const parameters = [...path.matchAll(/\{(\w+)\}/g)].map((match) => match[1] ?? '');
  const scope = parameters.includes('namespace') ? 'Namespaced' : '';
  const name = [how.action, group.split('.')[0] || 'core', version, scope, kind, subresource];
  return {
    path,
    method: how.method,
    id: name.map((word, index) => (index === 0 ? word : capital(word))).join(''),
    action: how.action,
    gvk,
    pathParameters: parameters,
    queryParameters: how.query,
    body: gvk,
  };
}

function capital(word: string): string {
  return word.charAt(0).toUpperCase() + word.slice(1);
}

/** The type a query parameter is written in. */
export function queryType(name: string): 'boolean' | 'integer' | 'string' {
  if (['allowWatchBookmarks', 'force', 'sendInitialEvents', 'watch'].includes(name)) {
    return 'boolean';
  }
  return ['gracePeriodSeconds', 'limit', 'timeoutSeconds'].includes(name) ? 'integer' : 'string';
}
