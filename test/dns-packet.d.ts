/** The part of dns-packet that tests use to read and write messages independently of src/dns. */
declare module 'dns-packet' {
  export type Record = {
    name: string;
    type: string;
    class?: string;
    ttl?: number;
    // oxlint-disable-next-line typescript/no-explicit-any -- each type has its own shape
    data?: any;
    udpPayloadSize?: number;
    flag_do?: boolean;
    ednsVersion?: number;
    extendedRcode?: number;
    options?: { code: number; data?: Uint8Array }[];
    flags?: number;
  };
  export type Packet = {
    type?: 'query' | 'response';
    id?: number;
    flags?: number;
    opcode?: string;
    rcode?: string;
    flag_aa?: boolean;
    flag_tc?: boolean;
    flag_rd?: boolean;
    flag_ra?: boolean;
    flag_ad?: boolean;
    flag_cd?: boolean;
    questions?: { name: string; type: string; class?: string }[];
    answers?: Record[];
    authorities?: Record[];
    additionals?: Record[];
  };
  export function encode(packet: Packet): Buffer;
  export function decode(bytes: Uint8Array): Required<Packet>;
  export const RECURSION_DESIRED: number;
  export const CHECKING_DISABLED: number;
  export const AUTHENTIC_DATA: number;
  export const DNSSEC_OK: number;
}
