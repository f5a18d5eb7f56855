/** One question put to a server's stages, with where its answer comes from. */
import type { Answer, Next } from '../stage.ts';
import { CLASS, FLAG, RCODE, rcodeOf, type ResourceRecord } from '../wire/message.ts';
import { foldCase, isWithin, labelsOf, parseName } from '../wire/name.ts';
import { formatRecord } from '../wire/text.ts';
import { addressOfReverse, placeOf, type Place } from '../zone/grammar.ts';
import type { Zones } from '../zone/zones.ts';
import type { Status } from './expansion.ts';

/** A question with its answer, as JSON carries it. */
export type Step = {
  /** With the final dot. */
  readonly name: string;
  readonly type: string;
  readonly status: Status;
  readonly rcode: string;
  /** In zone-file text. */
  readonly records: readonly string[];
  /** The stages that had a part in it, and what each says of it. */
  readonly sources: readonly { readonly stage: string; readonly detail?: string }[];
  /** What the name stands for in the cluster; absent: it lies outside. */
  readonly place?: ExplainedPlace;
  readonly error?: string;
};

export type ExplainedPlace = Place | { readonly kind: 'reverse'; readonly address: string };

export type Server = {
  /** Puts a question to the stages. */
  readonly resolve: Next;
  /** Absent: the server has no zones of a cluster. */
  readonly zones?: Zones | undefined;
};

/** Asks as a stub resolver does: over UDP, recursion desired. Undefined: it is no name. */
export async function trace(
  server: Server,
  question: { readonly name: string; readonly type: number; readonly typeName: string },
): Promise<Step | undefined> {
  const name = parseName(question.name);
  if (name === undefined) return undefined;
  const { resolve, zones } = server;
  const query = {
    id: 0,
    flags: FLAG.RD,
    question: { name, type: question.type, class: CLASS.IN },
    edns: undefined,
  };
  const asked = { label: 'explain', host: '127.0.0.1', resolve };
  const from = { address: '127.0.0.1', port: 0 };
  const answer = await resolve({ query, transport: 'udp', from, bytes: 0, server: asked });
  const place = zones && placeIn(zones, foldCase(name));
  return {
    name: question.name,
    type: question.typeName,
    status: statusOf(answer),
    rcode: rcodeName(rcodeOf(answer)),
    records: answer.answers.map((record: ResourceRecord) => formatRecord(record)),
    sources: answer.sources.map(({ stage, detail }) => ({
      stage,
      ...(detail === undefined ? {} : { detail: detail() }),
    })),
    ...(place === undefined ? {} : { place }),
    ...(answer.error === undefined ? {} : { error: answer.error }),
  };
}

function statusOf(answer: Answer): Status {
  const rcode = rcodeOf(answer);
  if (rcode === RCODE.NXDOMAIN) return 'missing';
  if (rcode !== RCODE.NOERROR) return 'failed';
  return answer.answers.length > 0 ? 'answered' : 'empty';
}

function rcodeName(rcode: number): string {
  return Object.entries(RCODE).find(([, value]) => value === rcode)?.[0] ?? `RCODE${rcode}`;
}

function placeIn(zones: Zones, folded: string): ExplainedPlace | undefined {
  const owned = zones.owned.find(({ name }) => isWithin(folded, name));
  if (owned === undefined) return undefined;
  if (owned.reverse !== undefined) {
    const address = addressOfReverse(folded);
    return address === undefined ? { kind: 'nothing' } : { kind: 'reverse', address };
  }
  return placeOf(labelsOf(`${folded.slice(0, -owned.name.length)}\0`), zones);
}
