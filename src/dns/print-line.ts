/** Lines to standard output, many at a time: a line for each question must not cost a write each. */
let pending: string[] = [];

/** Written before the next question that comes in by another event. */
export function printLine(line: string): void {
  pending.push(line, '\n');
  if (pending.length > 2) return;
  setImmediate(() => {
    const text = pending.join('');
    pending = [];
    process.stdout.write(text);
  });
}
