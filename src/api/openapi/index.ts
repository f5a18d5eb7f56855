/** The OpenAPI documents, made on first request and kept (A14-A20). */
import { createHash } from 'node:crypto';

import { encodeGnostic } from './gnostic.ts';
import { swagger } from './v2.ts';
import { documentNames, openApi3 } from './v3.ts';

/** Bytes ready to send; `etag` is quoted. */
export type Document = { readonly bytes: Uint8Array; readonly etag: string };

const made = new Map<string, Document>();

function once(name: string, make: () => Uint8Array): Document {
  let document = made.get(name);
  if (document === undefined) {
    const bytes = make();
    const hash = createHash('sha256').update(bytes).digest('hex').toUpperCase();
    document = { bytes, etag: `"${hash}"` };
    made.set(name, document);
  }
  return document;
}

function json(value: unknown): Uint8Array {
  return Buffer.from(JSON.stringify(value));
}

/** `GET /openapi/v2` as Swagger 2.0 JSON. */
export function openApiV2Json(): Document {
  return once('v2 json', () => json(swagger()));
}

/** `GET /openapi/v2` as gnostic `openapi.v2.Document` protobuf. */
export function openApiV2Protobuf(): Document {
  return once('v2 protobuf', () => encodeGnostic(swagger()));
}

/** `GET /openapi/v3`: the index. A document's hash changes with its content (A17). */
export function openApiV3Index(): Document {
  return once('v3 index', () => {
    const paths = documentNames().map((name) => {
      const hash = openApiV3(name)?.etag.replaceAll('"', '') ?? '';
      return [name, { serverRelativeURL: `/openapi/v3/${name}?hash=${hash}` }];
    });
    return json({ paths: Object.fromEntries(paths) });
  });
}

/** `GET /openapi/v3/<path>`, such as `api/v1` or `apis/apps/v1`; undefined when there is none. */
export function openApiV3(path: string): Document | undefined {
  if (!documentNames().includes(path)) return undefined;
  return once(`v3 ${path}`, () => json(openApi3(path)));
}
