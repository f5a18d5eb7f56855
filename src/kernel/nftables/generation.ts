/** The ruleset's generation: a number that each transaction raises. */
import { decodeAttrs, DecodeError, required } from '../netlink/attr.ts';
import type { Message } from '../netlink/message.ts';
import { NFT_MSG_GETGEN, NFTA_GEN_ID, NFTA_GEN_PROC_NAME, NFTA_GEN_PROC_PID } from './constants.ts';
import { NFGENMSG_BYTES, nftMessage } from './family.ts';

/** `id`, and the process that made the change where the kernel tells. */
export type Generation = {
  readonly id: number;
  readonly processId: number | undefined;
  readonly processName: string | undefined;
};

/** Asks for the generation of now. */
export function getGeneration(): Message {
  return nftMessage(NFT_MSG_GETGEN, { family: 'unspec', attrs: [] });
}

/** Reads the body of `NFT_MSG_NEWGEN`. */
export function decodeGeneration(body: Uint8Array): Generation {
  if (body.length < NFGENMSG_BYTES) throw new DecodeError(`a message body of ${body.length} bytes`);
  const attrs = decodeAttrs(body.subarray(NFGENMSG_BYTES));
  return {
    id: required(attrs.u32be(NFTA_GEN_ID), 'generation'),
    processId: attrs.u32be(NFTA_GEN_PROC_PID),
    processName: attrs.string(NFTA_GEN_PROC_NAME),
  };
}
