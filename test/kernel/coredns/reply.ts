/** What a server replied, as text that two servers can be held against each other with. */
import * as packet from 'dns-packet';

import { exchange, texts, type Asked } from '../dns-harness.ts';

/** One line per fact. Order counts only for aliases, which come before what they point to. */
export type Seen = {
  readonly header: string;
  readonly answers: readonly string[];
  readonly authorities: readonly string[];
  readonly additionals: readonly string[];
  readonly opt: string;
  readonly truncated: boolean;
};

/** Sends the bytes and tells what came back; a reply that got lost is silence. */
export async function seenBy(
  at: Asked,
  bytes: Uint8Array,
  options: { readonly tcp?: boolean; readonly timeoutMs?: number } = {},
): Promise<Seen> {
  try {
    return seenIn(await exchange(at, bytes, { timeoutMs: 400, ...options }));
  } catch (error) {
    return { ...nothing, header: `no reply: ${String(error)}` };
  }
}

function seenIn(bytes: Buffer | undefined): Seen {
  if (bytes === undefined) return { ...nothing, header: 'silence' };
  const word = bytes.readUInt16BE(2);
  const counts = [4, 6, 8, 10].map((at) => bytes.readUInt16BE(at));
  const truncated = (word & 0x0200) !== 0;
  const names = ['qr', 'aa', 'tc', 'rd', 'ra', 'z', 'ad', 'cd'];
  const bits = [0x8000, 0x0400, 0x0200, 0x0100, 0x0080, 0x0040, 0x0020, 0x0010];
  const flags = names.filter((_, index) => (word & bits[index]!) !== 0).join(' ');
  const asked = counts[0] === 1 ? questionText(bytes) : `${counts[0]} questions`;
  const header = `${flags} opcode=${(word >> 11) & 15} rcode=${word & 15} ${asked}`;
  const reply = packet.decode(bytes);
  const sections = [reply.answers, reply.authorities, reply.additionals].map(sectionText);
  return {
    header,
    answers: sections[0]!,
    authorities: sections[1]!,
    additionals: sections[2]!,
    opt: reply.additionals
      .filter(({ type }) => type === 'OPT')
      .map(optText)
      .join(' and '),
    truncated,
  };
}

const nothing: Seen = {
  header: '',
  answers: [],
  authorities: [],
  additionals: [],
  opt: '',
  truncated: false,
};

/** Read here: a decoder that mends a name would hide a difference. */
function questionText(bytes: Buffer): string {
  let name = '';
  let at = 12;
  for (; at < bytes.length && bytes[at] !== 0; at += 1 + bytes[at]!) {
    const label = bytes.toString('latin1', at + 1, at + 1 + bytes[at]!);
    name += `${label.replaceAll(/[^!-~]|[.\\]/g, escaped)}.`;
  }
  return `${name || '.'} type=${bytes.readUInt16BE(at + 1)} class=${bytes.readUInt16BE(at + 3)}`;
}

function escaped(character: string): string {
  return `\\${String(character.charCodeAt(0)).padStart(3, '0')}`;
}

function sectionText(records: readonly packet.Record[]): string[] {
  const lines = texts(records);
  const isAlias = (line: string) => / CNAME /.test(line);
  const rest = lines.filter((line) => !isAlias(line));
  const first = lines.findIndex((line) => !isAlias(line));
  const last = lines.findLastIndex(isAlias);
  const order = first >= 0 && last > first ? ['an alias stands after other records'] : [];
  return [...lines.filter(isAlias), ...rest.toSorted(), ...order];
}

function optText(opt: packet.Record): string {
  const options = (opt.options ?? []).map(({ code, data }) => `${code}:${data?.length ?? 0}`);
  return `${opt.udpPayloadSize}/${opt.ednsVersion}/${opt.extendedRcode}${opt.flag_do === true ? '/do' : ''} ${options.join(',')}`.trimEnd();
}

/** The differences, one line each; of replies that were cut only the sizes are compared. */
export function differences(ours: Seen, theirs: Seen): string[] {
  const found: string[] = [];
  const add = (what: string, our: string, their: string) => {
    if (our !== their) found.push(`${what}: ours ${our || 'none'} | theirs ${their || 'none'}`);
  };
  add('header', ours.header, theirs.header);
  add('opt', ours.opt, theirs.opt);
  for (const section of ['answers', 'authorities', 'additionals'] as const) {
    const cut = ours.truncated && theirs.truncated;
    const shown = ({ [section]: lines }: Seen) => (cut ? `${lines.length}` : lines.join('; '));
    add(section, shown(ours), shown(theirs));
  }
  return found;
}
