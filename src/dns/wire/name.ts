/**
 * Domain names in wire form (RFC 1035 §3.1), uncompressed, one character per byte: a length byte
 * before each label and a zero at the end. So `name.slice()` at a label is the parent's name, string
 * equality is exact equality, and a name is copied to and from packets by one native call.
 */

/** A name in wire form, such as `\x03www\x07example\x00`. */
export type Name = string;

/** RFC 1035 §2.3.4. */
export const labelBytesMax = 63;
/** RFC 1035 §2.3.4, length bytes and root included. */
export const nameBytesMax = 255;

/** The root of all names. */
export const root: Name = '\0';

/** The name of these labels, outermost last; undefined when a label or the whole is too long. */
export function nameOf(labels: readonly string[]): Name | undefined {
  let name = '';
  for (const label of labels) {
    if (label.length === 0 || label.length > labelBytesMax) return undefined;
    name += String.fromCharCode(label.length) + label;
  }
  return name.length < nameBytesMax ? `${name}\0` : undefined;
}

/** One label in front of a name. The caller knows that both are valid and short enough. */
export function under(label: string, parent: Name): Name {
  return String.fromCharCode(label.length) + label + parent;
}

/** Reads presentation form with `\.` and `\065` escapes (RFC 1035 §5.1); a final dot is optional. */
export function parseName(text: string): Name | undefined {
  if (text === '.' || text === '') return root;
  const labels: string[] = [];
  let label = '';
  for (const [part] of text.matchAll(/\\\d{3}|\\.|[^\\]/gsu)) {
    if (part === '.') {
      labels.push(label);
      label = '';
    } else {
      label += characterOf(part);
    }
  }
  if (label !== '') labels.push(label);
  return nameOf(labels);
}

function characterOf(part: string): string {
  if (/^\\\d/.test(part)) return String.fromCharCode(Number(part.slice(1)) & 0xff);
  const character = part.startsWith('\\') ? part.slice(1) : part;
  return Buffer.from(character, 'utf8').toString('latin1');
}

/** Presentation form with the final dot, as dig(1) prints it. */
export function formatName(name: Name): string {
  if (name === root) return '.';
  return labelsOf(name)
    .map((label) => `${label.replaceAll(/[^!-~]|["$().;@\\]/g, escapeCharacter)}.`)
    .join('');
}

function escapeCharacter(character: string): string {
  const code = character.charCodeAt(0);
  if (code > 0x20 && code < 0x7f) return `\\${character}`;
  return `\\${String(code).padStart(3, '0')}`;
}

/** The labels, outermost last, without the root. */
export function labelsOf(name: Name): string[] {
  const labels: string[] = [];
  for (let at = 0; ;) {
    const length = name.charCodeAt(at);
    if (!(length > 0)) return labels;
    labels.push(name.slice(at + 1, at + 1 + length));
    at += 1 + length;
  }
}

/** Lower case for comparison: only A-Z fold (RFC 4343 §3). Length bytes lie below the letters. */
export function foldCase(name: Name): Name {
  // toLowerCase would fold the bytes 0xc0-0xde too.
  if (!/[\x80-\xff]/.test(name)) return name.toLowerCase();
  return name.replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase());
}

/** Whether a name is the zone or lies below it; both folded. */
export function isWithin(name: Name, zone: Name): boolean {
  if (!name.endsWith(zone)) return false;
  const boundary = name.length - zone.length;
  let at = 0;
  while (at < boundary) at += 1 + name.charCodeAt(at);
  return at === boundary;
}
