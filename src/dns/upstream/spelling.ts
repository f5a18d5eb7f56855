/**
 * Names asked in random letter case, so that a forger must guess that as well (DNS 0x20,
 * draft-vixie-dnsext-dns0x20): a reply repeats the question as it came.
 */
import type { Message, ResourceRecord } from '../wire/message.ts';
import type { Name } from '../wire/name.ts';

/** The name with each letter in upper or lower case as `bits` has it; it needs a byte for 8 letters. */
export function inRandomCase(name: Name, bits: Uint8Array): Name {
  let letter = 0;
  return name.replaceAll(/[A-Za-z]/g, (found) => {
    const isUpper = ((bits[letter >> 3] ?? 0) >> (letter & 7)) & 1;
    letter += 1;
    return isUpper === 1 ? found.toUpperCase() : found.toLowerCase();
  });
}

/** The message as if `to` had been asked: servers point into the question for the ends of names. */
export function respelled(message: Message, from: Name, to: Name): Message {
  if (from === to) return message;
  const name = (found: Name) => withTail(found, from, to);
  const records = (list: readonly ResourceRecord[]) =>
    list.map((record) => ({
      ...record,
      name: name(record.name),
      data: record.data.map((part) => (typeof part === 'string' ? name(part) : part)),
    }));
  return {
    ...message,
    answers: records(message.answers),
    authorities: records(message.authorities),
    additionals: records(message.additionals),
  };
}

/** The longest end that `found` has in common with `from`, letter by letter, taken from `to`. */
function withTail(found: Name, from: Name, to: Name): Name {
  for (let at = 0; at < found.length - 1; at += 1 + found.charCodeAt(at)) {
    const tail = found.slice(at);
    if (from.endsWith(tail)) return found.slice(0, at) + to.slice(-tail.length);
  }
  return found;
}
