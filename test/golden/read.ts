/** Reads the recordings made by `tools/record/netlink.ts`. */
import { readFileSync } from 'node:fs';

export type Recorded = {
  readonly type: number;
  readonly flags: number;
  readonly body: Uint8Array;
};

/** What a command sent, by the command's text. */
export function readGolden(file: string): Map<string, Recorded[]> {
  const text = readFileSync(new URL(file, import.meta.url), 'utf8');
  const commands = new Map<string, Recorded[]>();
  for (const block of text.split(/^# /m).filter((part) => part !== '')) {
    const [command = '', ...lines] = block.trimEnd().split('\n');
    const messages = lines.join('\n').split(/^(?=type )/m);
    commands.set(command, messages.filter((part) => part.trim() !== '').map(parse));
  }
  return commands;
}

function parse(text: string): Recorded {
  const [head = '', ...rows] = text.trim().split('\n');
  const [, type, flags] = /^type (0x\w+) flags (0x\w+)$/.exec(head) ?? [];
  return {
    type: Number(type),
    flags: Number(flags),
    body: Uint8Array.fromHex(rows.join(' ').replaceAll(/\s/g, '')),
  };
}

/** Words of four bytes, so that a differing one is easy to see. */
export function hexDump(bytes: Uint8Array): string {
  return (bytes.toHex().match(/.{1,8}/g) ?? []).join(' ');
}
