import { closeSync, existsSync, fstatSync, openSync, readSync, watch } from 'node:fs';
import { UserError } from '../lib/errors.ts';
import { labPaths, logFile } from '../lab/paths.ts';
import { readLab } from '../lab/state.ts';

/** `fairlead logs COMPONENT`: `server`, or a node by its name. */
export async function logs(
  component: string,
  options: { name: string; follow?: boolean; tail?: number },
): Promise<void> {
  const paths = labPaths(options.name);
  const config = readLab(paths);
  const fakes = config.fakes === undefined ? [] : ['fakes'];
  const known = ['server', ...fakes, ...config.nodes.map((node) => node.name)];
  const file = logFile(paths, component);
  if (!known.includes(component) || !existsSync(file)) {
    throw new UserError(
      'NO_SUCH_COMPONENT',
      `Cannot print the log of "${component}": lab "${options.name}" has no such component`,
      {
        hint: `It has: ${known.join(', ')}; for a pod: kubectl logs`,
      },
    );
  }
  const fd = openSync(file, 'r');
  try {
    let offset = options.tail === undefined ? 0 : startOfTail(fd, options.tail);
    const print = () => {
      const buffer = Buffer.alloc(65_536);
      for (;;) {
        const read = readSync(fd, buffer, 0, buffer.length, offset);
        if (read === 0) return;
        offset += read;
        process.stdout.write(Buffer.from(buffer.subarray(0, read)));
      }
    };
    print();
    if (options.follow !== true) return;
    await new Promise<void>((resolve) => {
      const watcher = watch(file, print);
      process.once('SIGINT', () => {
        watcher.close();
        resolve();
      });
    });
  } finally {
    closeSync(fd);
  }
}

/** Where the last `lines` lines begin. */
function startOfTail(fd: number, lines: number): number {
  const { size } = fstatSync(fd);
  if (lines === 0) return size;
  const buffer = Buffer.alloc(65_536);
  let found = 0;
  for (let end = size; end > 0;) {
    const start = Math.max(0, end - buffer.length);
    readSync(fd, buffer, 0, end - start, start);
    for (let at = end - start - 1; at >= 0; at -= 1) {
      const last = start + at === size - 1;
      if (buffer[at] === 0x0a && !last) {
        found += 1;
        if (found === lines) return start + at + 1;
      }
    }
    end = start;
  }
  return 0;
}
