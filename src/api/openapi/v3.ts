/** OpenAPI 3, one document for each group version (A17, A18). */
import { typeIdOf } from '../schema.ts';
import { apiVersionOf } from '../resources.ts';
import { subresourceKindOf } from '../discovery.ts';
import { definitionName, definitionsFor, served, type Schema } from './definitions.ts';
import { groupVersionPath, operationsOf, queryType, type Operation } from './paths.ts';

/** The names of all documents, such as `api/v1` and `apis/apps/v1`. */
export function documentNames(): string[] {
  return [...new Set(served.map(groupVersionPath))];
}

/** The document of one group version as plain data; undefined when we serve no such version. */
export function openApi3(name: string): Schema | undefined {
  const own = served.filter((resource) => groupVersionPath(resource) === name);
  if (own.length === 0) return undefined;
  const paths: Record<string, Schema> = {};
  for (const operation of own.flatMap(operationsOf)) {
    (paths[operation.path] ??= {})[operation.method] = operationOf(operation);
  }
  const bodies = own.flatMap((resource) =>
    (resource.subresources ?? []).map((name) => subresourceKindOf(resource, name)),
  );
  return {
    openapi: '3.0.0',
    info: { title: 'Kubernetes', version: 'v1' },
    paths,
    components: { schemas: Object.fromEntries(definitionsFor([...own, ...bodies], 3)) },
  };
}

/** kubectl looks for the strategic one before it makes such a patch. */
const patchTypes = [
  'application/json-patch+json',
  'application/merge-patch+json',
  'application/strategic-merge-patch+json',
];

function operationOf(operation: Operation): Schema {
  const schema = bodySchema(operation);
  const content = (types: readonly string[], body: Schema) =>
    Object.fromEntries(types.map((type) => [type, { schema: body }]));
  const json = ['application/json'];
  return {
    operationId: operation.id,
    parameters: [
      ...operation.pathParameters.map((name) => ({
        name,
        in: 'path',
        required: true,
        schema: { type: 'string', uniqueItems: true },
      })),
      ...operation.queryParameters.map((name) => ({
        name,
        in: 'query',
        schema: { type: queryType(name), uniqueItems: true },
      })),
    ],
    ...(operation.method === 'patch' && {
      requestBody: { required: true, content: content(patchTypes, { type: 'object' }) },
    }),
    ...((operation.method === 'put' || operation.method === 'post') &&
      schema !== undefined && { requestBody: { required: true, content: content(json, schema) } }),
    responses: {
      200: { description: 'OK', ...(schema !== undefined && { content: content(json, schema) }) },
    },
    'x-kubernetes-action': operation.action,
    'x-kubernetes-group-version-kind': operation.gvk,
  };
}

function bodySchema({ body }: Operation): Schema | undefined {
  const id = typeIdOf(apiVersionOf(body), body.kind);
  return id === undefined ? undefined : { $ref: `#/components/schemas/${definitionName(id)}` };
}
