/** One output stream of a container as it comes, not cut into lines: `kubectl attach`. */
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { WorldError } from '../../lib/errors.ts';
import { limits } from '../../lib/limits.ts';

const chunkBytes = 64 * 1024;

/** The log of the same run: it writes down lines and gives their space back to the file system. */
export type OutputSource = {
  readonly path: string;
  /** What lies in front of this is gone. */
  readonly firstOffset: number;
  readonly isFinished: () => boolean;
  /** Calls back when there may be more, and when the run is over. */
  readonly onMore: (listener: () => void) => () => void;
};

export type OutputOptions = {
  /** From what is left of the start; otherwise from now on. */
  readonly fromStart: boolean;
  /** The reader leaves. */
  readonly signal: AbortSignal;
};

type OnClose = (output: RawOutput) => void;

/** A reader's place in the raw file; the space behind it is kept for it. */
export class RawOutput {
  readonly #source: OutputSource;
  readonly #onClose: OnClose;
  readonly #fd: number;
  #offset: number;

  readonly #signal: AbortSignal;
  #closed = false;

  constructor(source: OutputSource, options: OutputOptions & { readonly onClose: OnClose }) {
    this.#source = source;
    this.#signal = options.signal;
    this.#onClose = options.onClose;
    // A reader that leaves before its first read never comes to the end of `read`.
    this.#signal.addEventListener('abort', () => this.#close());
    this.#fd = openSync(source.path, 'r');
    this.#offset = options.fromStart ? source.firstOffset : fstatSync(this.#fd).size;
  }

  get offset(): number {
    return this.#offset;
  }

  /** The bytes from here on, until the run is over or the reader leaves. */
  async *read(): AsyncGenerator<Buffer> {
    const signal = this.#signal;
    let wake = Promise.withResolvers<void>();
    const notify = () => wake.resolve();
    const unlisten = this.#source.onMore(notify);
    signal.addEventListener('abort', notify);
    try {
      while (!signal.aborted) {
        wake = Promise.withResolvers<void>();
        const finished = this.#source.isFinished();
        for (let part = this.#next(); part !== undefined; part = this.#next()) yield part;
        if (finished) return;
        await wake.promise;
      }
    } finally {
      unlisten();
      signal.removeEventListener('abort', notify);
      this.#close();
    }
  }

  #close(): void {
    if (this.#closed) return;
    this.#closed = true;
    closeSync(this.#fd);
    this.#onClose(this);
  }

  #next(): Buffer | undefined {
    if (this.#closed) return undefined;
    if (fstatSync(this.#fd).size - this.#offset > limits.attachBehindBytesMax) {
      throw new WorldError('TOO_SLOW', 'Cannot show all output: the client reads too slowly');
    }
    const buffer = Buffer.allocUnsafe(chunkBytes);
    const count = readSync(this.#fd, buffer, 0, chunkBytes, this.#offset);
    this.#offset += count;
    return count === 0 ? undefined : buffer.subarray(0, count);
  }
}
