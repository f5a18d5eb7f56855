/** JSON merge patch (RFC 7386). */
import { setOwn } from '../own.ts';

type JsonObject = Record<string, unknown>;

export function isObject(value: unknown): value is JsonObject {
  return typeof value === 'object' && value !== null && !Array.isArray(value);
}

/** The target with the patch applied; the target is changed where it can be (RFC 7386 §2). */
export function mergePatch(target: unknown, patch: unknown): unknown {
  if (!isObject(patch)) return patch;
  const result = isObject(target) ? target : {};
  for (const [name, value] of Object.entries(patch)) {
    if (value === null) delete result[name];
    else
      setOwn(
        result,
        name,
        mergePatch(Object.hasOwn(result, name) ? result[name] : undefined, value),
      );
  }
  return result;
}
