/** Properties whose names come from clients. */

/** Sets a property of the object's own even when its name is `__proto__`. */
export function setOwn(object: Record<string, unknown>, name: string, value: unknown): void {
  if (name === '__proto__') {
    const property = { value, writable: true, enumerable: true, configurable: true };
    Object.defineProperty(object, name, property);
  } else {
    object[name] = value;
  }
}
