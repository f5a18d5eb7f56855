/** The messages that go to other servers. */
import { randomInt } from 'node:crypto';

import { dnsLimits } from '../limits.ts';
import { FLAG, TYPE, type Message, type Question, type ResourceRecord } from '../wire/message.ts';
import { root } from '../wire/name.ts';

/** What of the client's own query goes upstream. */
export type ForwardOptions = {
  /** RD, CD and AD of the client. */
  readonly flags: number;
  readonly edns: boolean;
  readonly dnssecOk: boolean;
};

export function queryFor(question: Question, options: ForwardOptions): Message {
  const opt: ResourceRecord = {
    name: root,
    type: TYPE.OPT,
    class: dnsLimits.upstreamUdpBytes,
    ttl: options.dnssecOk ? 0x8000 : 0,
    data: [],
  };
  return {
    // The id and the port of a fresh socket are what a forger must guess (RFC 5452).
    id: randomInt(0x10000),
    flags: options.flags & (FLAG.RD | FLAG.CD | FLAG.AD),
    questions: [question],
    answers: [],
    authorities: [],
    additionals: options.edns ? [opt] : [],
  };
}
