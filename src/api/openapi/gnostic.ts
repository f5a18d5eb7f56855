/**
 * A Swagger 2.0 document as gnostic `openapi.v2.Document` protobuf, which kubectl before 1.30 asks
 * for and cannot do without (A15). Field numbers: google/gnostic openapiv2/OpenAPIv2.proto.
 */
import type { Schema } from './definitions.ts';

/** Chunks to be joined once at the end: a schema is nested ten deep. */
type Bytes = { readonly length: number; readonly chunks: readonly Uint8Array[] };

/** Encodes what our own documents contain: paths, operations, query parameters, definitions. */
export function encodeGnostic(document: Schema): Uint8Array {
  const info = document.info as { title: string; version: string };
  const { chunks } = message([
    text(1, document.swagger as string),
    bytes(2, message([text(1, info.title), text(2, info.version)])),
    bytes(8, message(named(2, document.paths as Record<string, Schema>, encodePathItem))),
    bytes(9, message(named(1, document.definitions as Record<string, Schema>, encodeSchema))),
  ]);
  return Buffer.concat(chunks);
}

/** `NamedX { name = 1; value = 2; }`, repeated in `field`. */
function named<T>(field: number, values: Record<string, T>, encode: (value: T) => Bytes): Bytes[] {
  return Object.entries(values).map(([name, value]) =>
    bytes(field, message([text(1, name), bytes(2, encode(value))])),
  );
}

// ---- paths

const methodFields = { get: 2, put: 3, post: 4, delete: 5, patch: 8 } as const;

function encodePathItem(item: Schema): Bytes {
  return message(
    Object.entries(methodFields).flatMap(([method, field]) => {
      const operation = item[method] as Schema | undefined;
      return operation === undefined ? [] : [bytes(field, encodeOperation(operation))];
    }),
  );
}

function encodeOperation(operation: Schema): Bytes {
  return message([
    text(5, operation.operationId as string),
    ...(operation.parameters as Schema[]).map((parameter) =>
      // ParametersItem.parameter = 1
      bytes(8, message([bytes(1, encodeParameter(parameter))])),
    ),
    bytes(9, encodeResponses(operation.responses as Record<string, Schema>)),
    ...extensions(13, operation),
  ]);
}

function encodeParameter(parameter: Schema): Bytes {
  const {
    name,
    in: place,
    required,
    type,
    schema,
  } = parameter as Record<string, string> & {
    required?: boolean;
    schema?: Schema;
  };
  if (place === 'body') {
    const body = [text(2, name), text(3, 'body'), bytes(5, encodeSchema(schema ?? {}))];
    return message([bytes(1, message(body))]);
  }
  const fields = [text(2, place), text(4, name)];
  if (required === true) fields.unshift(flag(1));
  // In the message for paths the type is field 5, in that for queries 6.
  if (place === 'path') fields.push(text(5, type));
  else fields.push(text(6, type));
  return message([bytes(2, message([bytes(place === 'path' ? 4 : 3, message(fields))]))]);
}

/** Responses.response_code = 1 of NamedResponseValue; ResponseValue.response = 1. */
function encodeResponses(responses: Record<string, Schema>): Bytes {
  return message(
    named(1, responses, ({ description, schema }) => {
      const fields = [text(1, description as string)];
      if (schema !== undefined) {
        fields.push(bytes(2, message([bytes(1, encodeSchema(schema as Schema))])));
      }
      return message([bytes(1, message(fields))]);
    }),
  );
}

// ---- schemas

function encodeSchema(schema: Schema): Bytes {
  const fields: Bytes[] = [];
  if (schema.$ref !== undefined) fields.push(text(1, schema.$ref as string));
  if (schema.format !== undefined) fields.push(text(2, schema.format as string));
  if (schema.description !== undefined) fields.push(text(4, schema.description as string));
  for (const name of (schema.required as string[] | undefined) ?? []) fields.push(text(19, name));
  if (schema.additionalProperties !== undefined) {
    const inner = encodeSchema(schema.additionalProperties as Schema);
    fields.push(bytes(21, message([bytes(1, inner)])));
  }
  if (schema.type !== undefined) fields.push(bytes(22, message([text(1, schema.type as string)])));
  if (schema.items !== undefined) {
    fields.push(bytes(23, message([bytes(1, encodeSchema(schema.items as Schema))])));
  }
  if (schema.properties !== undefined) {
    const properties = schema.properties as Record<string, Schema>;
    fields.push(bytes(25, message(named(1, properties, encodeSchema))));
  }
  return message([...fields, ...extensions(31, schema)]);
}

/** `x-…` members as NamedAny; gnostic carries the value as YAML, and JSON is YAML. */
function extensions(field: number, object: Schema): Bytes[] {
  return Object.entries(object)
    .filter(([name]) => name.startsWith('x-'))
    .map(([name, value]) => {
      const any = message([text(2, JSON.stringify(value))]);
      return bytes(field, message([text(1, name), bytes(2, any)]));
    });
}

// ---- the wire

const encoder = new TextEncoder();

function message(parts: readonly Bytes[]): Bytes {
  const chunks = parts.flatMap((part) => part.chunks);
  return { length: parts.reduce((sum, { length }) => sum + length, 0), chunks };
}

function text(field: number, value: string | undefined): Bytes {
  const chunk = encoder.encode(value ?? '');
  return bytes(field, { length: chunk.length, chunks: [chunk] });
}

function bytes(field: number, { length, chunks }: Bytes): Bytes {
  const head = Uint8Array.from([...varint((field << 3) | 2), ...varint(length)]);
  return { length: head.length + length, chunks: [head, ...chunks] };
}

function flag(field: number): Bytes {
  return { length: 2, chunks: [Uint8Array.from([field << 3, 1])] };
}

function varint(value: number): number[] {
  const out: number[] = [];
  let rest = value;
  for (; rest >= 0x80; rest >>>= 7) out.push((rest & 0x7f) | 0x80);
  return [...out, rest];
}
