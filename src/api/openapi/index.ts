/** The OpenAPI documents, made on first request and kept (A14-A20). */

/** Bytes ready to send; `etag` is quoted. */
export type Document = { readonly bytes: Uint8Array; readonly etag: string };

/** `GET /openapi/v2` as Swagger 2.0 JSON. */
export function openApiV2Json(): Document {
  return { bytes: new Uint8Array(), etag: '""' };
}

/** `GET /openapi/v2` as gnostic `openapi.v2.Document` protobuf. */
export function openApiV2Protobuf(): Document {
  return { bytes: new Uint8Array(), etag: '""' };
}

/** `GET /openapi/v3`: the index. */
export function openApiV3Index(): Document {
  return { bytes: new Uint8Array(), etag: '""' };
}

/** `GET /openapi/v3/<path>`, such as `api/v1` or `apis/apps/v1`; undefined when there is none. */
export function openApiV3(path: string): Document | undefined {
  void path;
  return undefined;
}
