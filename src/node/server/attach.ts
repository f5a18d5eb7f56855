/** `kubectl attach`: what a container's main process says, and what it is told (A106, K25). */
import { Readable } from 'node:stream';
import type { LogStream } from '../logs/cri-format.ts';
import type { LogPlace, LogStore } from '../logs/log-store.ts';
import { readLog } from '../logs/read-log.ts';
import type { ExecSession, Runtime } from '../runtime.ts';
import { Refusal } from './requests.ts';

export type AttachTarget = {
  readonly id: string;
  readonly container: {
    readonly name: string;
    readonly stdin?: boolean | undefined;
    readonly tty?: boolean | undefined;
  };
  readonly running: boolean;
  /** The client sends input. */
  readonly wantsStdin: boolean;
};

/**
 * The output from now on. A container made for someone to look at (`kubectl run -i`) is shown to
 * its first client from its start, so that nothing is lost while that client is on its way.
 */
export function attach(
  { runtime, logs }: { readonly runtime: Runtime; readonly logs: LogStore },
  target: AttachTarget,
): ExecSession {
  const { id, container, wantsStdin } = target;
  const place = logs.place(id);
  if (place === undefined) throw new Refusal(404, `container not found ("${container.name}")`);
  const running = target.running && runtime.state(id)?.kind === 'running';
  const attached = running ? runtime.attach(id, { stdin: wantsStdin }) : undefined;
  const isSeen = container.stdin === true || container.tty === true;
  const fromStart = isSeen && attached?.isFirst !== false;
  const stopped = new AbortController();
  const show = (stream: LogStream) =>
    outputOf(place, { stream, fromStart, signal: stopped.signal });
  const outputs = [show('stdout'), ...(container.tty === true ? [] : [show('stderr')])] as const;
  const detach = () => {
    stopped.abort();
    attached?.detach();
  };
  const exit = Promise.all(outputs.map(ended)).then(() => 0);
  void exit.catch(() => undefined).then(detach);
  return {
    stdin: attached?.stdin,
    stdout: outputs[0],
    stderr: outputs[1],
    resize: (size) => attached?.resize(size),
    exit,
    kill: detach,
  };
}

function outputOf(
  place: LogPlace,
  options: { stream: LogStream; fromStart: boolean; signal: AbortSignal },
): Readable {
  const { stream, fromStart, signal } = options;
  const live = place.pipe?.openOutput(stream, { fromStart, signal });
  if (live !== undefined) return Readable.from(live.read(), { objectMode: false });
  // It has ended, and its raw output with it: the log has all of it.
  const lines = readLog(
    place,
    {
      follow: false,
      timestamps: false,
      tailLines: fromStart ? undefined : 0,
      sinceMs: undefined,
      limitBytes: undefined,
      stream,
    },
    signal,
  );
  return Readable.from(lines, { objectMode: false });
}

function ended(stream: Readable): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  stream.once('error', reject);
  stream.once('close', resolve);
  return promise;
}
