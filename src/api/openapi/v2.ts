/** Swagger 2.0 of everything we serve (A14). */
import { typeIdOf } from '../schema.ts';
import { apiVersionOf } from '../resources.ts';
import { allKinds, definitionName, definitionsFor, served, type Schema } from './definitions.ts';
import { operationsOf, queryType, type Operation } from './paths.ts';

/** The document as plain data. */
export function swagger(): Schema {
  const paths: Record<string, Schema> = {};
  for (const operation of served.flatMap(operationsOf)) {
    (paths[operation.path] ??= {})[operation.method] = operationOf(operation);
  }
  return {
    swagger: '2.0',
    info: { title: 'Kubernetes', version: 'v1' },
    paths,
    definitions: Object.fromEntries(definitionsFor(allKinds(), 2)),
  };
}

function operationOf(operation: Operation): Schema {
  const schema = bodySchema(operation);
  const hasBody = operation.method !== 'get' && schema !== undefined;
  return {
    operationId: operation.id,
    parameters: [
      ...operation.pathParameters.map((name) => ({
        name,
        in: 'path',
        required: true,
        type: 'string',
      })),
      ...operation.queryParameters.map((name) => ({ name, in: 'query', type: queryType(name) })),
      ...(hasBody ? [{ name: 'body', in: 'body', schema }] : []),
    ],
    responses: { 200: { description: 'OK', ...(schema !== undefined && { schema }) } },
    'x-kubernetes-action': operation.action,
    'x-kubernetes-group-version-kind': operation.gvk,
  };
}

function bodySchema({ body }: Operation): Schema | undefined {
  const id = typeIdOf(apiVersionOf(body), body.kind);
  return id === undefined ? undefined : { $ref: `#/definitions/${definitionName(id)}` };
}
