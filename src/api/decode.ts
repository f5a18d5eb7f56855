/** Bytes of a request body to an object: JSON, YAML and Kubernetes protobuf (A21-A23). */
import { failure } from './status.ts';

/** A body as the client sent it; `duplicates` are the paths of JSON or YAML fields set twice. */
export type Decoded = {
  object: Record<string, unknown>;
  apiVersion: string;
  kind: string;
  duplicates: readonly string[];
};

/** Reads a body; an absent content type means JSON. Throws 400 on bad bytes, 415 on other types. */
export function decodeBody(contentType: string | undefined, bytes: Uint8Array): Decoded {
  throw failure(501, 'NotImplemented', `decode ${contentType} ${bytes.length}`);
}
