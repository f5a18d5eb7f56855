/** A byte stream as lines of text. */
import { WorldError } from '../lib/errors.ts';

/** Yields each line without its end. A line longer than `bytesMax` ends the stream with an error. */
export async function* splitLines(
  chunks: AsyncIterable<Uint8Array>,
  bytesMax: number,
): AsyncGenerator<string> {
  let parts: Uint8Array[] = [];
  let held = 0;
  for await (const chunk of chunks) {
    let start = 0;
    for (;;) {
      const end = chunk.indexOf(0x0a, start);
      if (end < 0) break;
      parts.push(chunk.subarray(start, end));
      const line = Buffer.concat(parts).toString('utf8');
      parts = [];
      held = 0;
      start = end + 1;
      if (line !== '') yield line;
    }
    if (start >= chunk.length) continue;
    parts.push(chunk.subarray(start));
    held += chunk.length - start;
    if (held > bytesMax) {
      throw new WorldError(
        'LINE_TOO_LONG',
        `Cannot read line: it is longer than ${bytesMax} bytes`,
      );
    }
  }
  // A last line without its end was cut off in the middle: nothing to rely on.
}
