/** What the main thread and a worker tell each other. */
import type { Sender } from '../../kernel/ffi/udp-batch.ts';
import type { Sender as Client } from '../stage.ts';

/** Given to a worker at its start. */
export type WorkerStart = {
  readonly host: string;
  readonly port: number;
  /** Beside other sockets on the same port. */
  readonly reusePort: boolean;
  /** Kept answers, whether addresses in them change places, and how long they may be over UDP. */
  readonly kept: readonly {
    readonly memory: SharedArrayBuffer;
    readonly shuffles: boolean;
    readonly udpBytesMax: number;
  }[];
  readonly counts: SharedArrayBuffer;
  /** Of the main thread: its monotonic clock counts from there. */
  readonly timeOrigin: number;
};

/** A question that the worker has no answer to. */
export type Asked = {
  readonly packet: Uint8Array;
  readonly from: Client;
  /** For the way back. */
  readonly sender: Sender;
};

export type Reply = { readonly sender: Sender; readonly bytes: Uint8Array | undefined };

export type FromWorker =
  | { readonly kind: 'listening'; readonly port: number }
  | { readonly kind: 'failed'; readonly error: unknown }
  | { readonly kind: 'asked'; readonly questions: readonly Asked[] };

export type ToWorker =
  | { readonly kind: 'replies'; readonly replies: readonly Reply[] }
  /** Others may bind the port from now on. */
  | { readonly kind: 'share' }
  | { readonly kind: 'stop' };
