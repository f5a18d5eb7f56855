/** Finds object keys that a JSON text sets twice, which JSON.parse hides (A46). */

/** The paths of fields set more than once, such as `spec.type`; the text must be valid JSON. */
export function duplicateFields(text: string): string[] {
  const found: string[] = [];
  let at = 0;

  const skipSpace = () => {
    while (at < text.length && text.charCodeAt(at) <= 0x20) at += 1;
  };
  const readString = (): string => {
    const start = at;
    at += 1;
    while (text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
    at += 1;
    return text.slice(start, at);
  };
  const readValue = (path: string): void => {
    skipSpace();
    if (text[at] === '{') return readObject(path);
    if (text[at] === '[') return readArray(path);
    if (text[at] === '"') return void readString();
    while (at < text.length && !',]}'.includes(text[at]!)) at += 1;
  };
  const readObject = (path: string): void => {
    const seen = new Set<string>();
    at += 1;
    for (skipSpace(); text[at] !== '}'; skipSpace()) {
      const quoted = readString();
      const name = quoted.includes('\\') ? (JSON.parse(quoted) as string) : quoted.slice(1, -1);
      const inner = path === '' ? name : `${path}.${name}`;
      if (seen.has(name)) found.push(inner);
      seen.add(name);
      skipSpace();
      at += 1;
      readValue(inner);
      skipSpace();
      if (text[at] === ',') at += 1;
    }
    at += 1;
  };
  const readArray = (path: string): void => {
    at += 1;
    skipSpace();
    for (let index = 0; text[at] !== ']'; index += 1) {
      readValue(`${path}[${index}]`);
      skipSpace();
      if (text[at] === ',') at += 1;
      skipSpace();
    }
    at += 1;
  };

  readValue('');
  return found;
}
