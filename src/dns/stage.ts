/**
 * The way of a question through the server: stages in a fixed order, each of which answers or asks the
 * next one. A stage may change the question on its way in and the answer on its way out.
 */
import type { Query } from './query.ts';
import { FLAG, RCODE, type Question, type ResourceRecord } from './wire/message.ts';

export type Transport = 'udp' | 'tcp' | 'tls' | 'https';

/** Who asks. */
export type Sender = { readonly address: string; readonly port: number };

/** A question with all that a stage may want to know about it. */
export type Ask = {
  readonly query: Query;
  readonly transport: Transport;
  readonly from: Sender;
  /** Length of the packet it came in. */
  readonly bytes: number;
  readonly server: Asked;
  /** How many aliases led here, each by a question of its own; absent: the client asks. */
  readonly followed?: number;
};

/** The socket that was asked, with all its zones. */
export type Asked = {
  /** As metrics name it, such as `dns://:53`. */
  readonly label: string;
  /** The address it is bound to. */
  readonly host: string;
  /** Puts another question to the same socket, for the names that aliases lead to. */
  readonly resolve: Next;
};

/** Where an answer comes from: the stage, and in it the object, the kept entry or the server asked. */
export type Source = { readonly stage: string; readonly detail?: () => string };

/** An answer of other servers: good until then, in monotonic milliseconds. */
export type Cached = {
  readonly kind: 'success' | 'denial';
  readonly expiresAtMs: number;
  /** They said AD, whether or not this client hears it. */
  readonly authentic: boolean;
};

/** A reply without its header's copied part, its question and its OPT record. */
export type Answer = {
  /** AA, TC, RA, AD and the rcode. */
  readonly flags: number;
  readonly answers: readonly ResourceRecord[];
  readonly authorities: readonly ResourceRecord[];
  readonly additionals: readonly ResourceRecord[];
  /** Whoever had a part in it, the first answering stage first. */
  readonly sources: readonly Source[];
  /** How the cache has it; absent: it does not come from there. */
  readonly cached?: Cached;
  /** Why it failed, for the log. */
  readonly error?: string;
  /** The client gets no reply at all. */
  readonly dropped?: boolean;
  /** A whole zone: over as many messages as it takes. */
  readonly isTransfer?: boolean;
  /** Told to clients that speak EDNS (RFC 8914). */
  readonly extendedError?: { readonly code: number; readonly text: string };
};

export type Answered = Answer | Promise<Answer>;

export type Next = (ask: Ask) => Answered;

/** One row of the metrics page. */
export type StageMetric = {
  readonly name: string;
  readonly help: string;
  readonly kind: 'counter' | 'gauge';
  readonly labels: Readonly<Record<string, string>>;
  readonly value: number;
};

export type Stage = {
  /** The name of its directive. */
  readonly name: string;
  answer(ask: Ask, next: Next): Answered;
  /** Absent: always. */
  isReady?(): boolean;
  /** Whom to call when what it answers may have changed; absent: it never does by itself. */
  tell?(changed: () => void): void;
  /** What it counts for itself, given the labels that its block has. */
  metrics?(where: { readonly server: string; readonly view: string }): readonly StageMetric[];
  /** Called once the server listens. */
  start?(): void;
  stop?(): void | Promise<void>;
};

/** The stages as one function; whoever is left over is refused. */
export function chainOf(stages: readonly Stage[]): Next {
  return stages.reduceRight<Next>((next, stage) => (ask) => stage.answer(ask, next), refused);
}

function refused(): Answer {
  return failure(RCODE.REFUSED, { stage: 'server' });
}

/** A reply of the server itself: AA stays 0 and there is no SOA (D64). */
export function failure(rcode: number, source: Source, error?: string): Answer {
  return {
    flags: rcode,
    ...noRecords,
    sources: [source],
    ...(error === undefined ? {} : { error }),
  };
}

const noRecords = { answers: [], authorities: [], additionals: [] } as const;

/** Goes on with a value at once where there is one: most answers take no time. */
export function whenDone<T, R>(
  value: T | Promise<T>,
  use: (value: T) => R | Promise<R>,
): R | Promise<R> {
  return value instanceof Promise ? value.then(use) : use(value);
}

/** The same ask with another question. */
export function asking(ask: Ask, question: Question, flags: number = ask.query.flags): Ask {
  return { ...ask, query: { ...ask.query, question, flags } };
}

/** More aliases than these lead in a circle: two stages can each point into the zone of the other. */
const followedMax = 10;

/** Asks the same socket about the name that an alias leads to. */
export function follow(ask: Ask, question: Question, flags: number = ask.query.flags): Answered {
  const followed = (ask.followed ?? 0) + 1;
  if (followed > followedMax) {
    return failure(RCODE.SERVFAIL, { stage: 'server' }, 'aliases lead in a circle');
  }
  return ask.server.resolve({ ...asking(ask, question, flags), followed });
}

/** What of the client's query decides which answer of another server fits it (D83, D90b). */
export function wantsAuthentic({ query }: Ask): boolean {
  return query.edns?.dnssecOk === true || (query.flags & FLAG.AD) !== 0;
}
