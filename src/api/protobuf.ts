/**
 * Kubernetes protobuf bodies to objects, driven by the schema's field numbers (A22, A23).
 * The envelope is `k8s\0` and a runtime.Unknown; the message inside is proto2 as gogo-protobuf
 * writes it: every field that is no pointer in Go stands in the bytes, even when it is empty.
 */
import { messageOf } from '../lib/errors.ts';
import { setOwn } from './own.ts';
import { failure } from './status.ts';
import { isTypeId, typeIdOf, typeOf, type Field, type Type } from './schema.ts';

type JsonObject = Record<string, unknown>;

/** Deeper nesting than any real object has; it bounds recursion on hostile bytes. */
const depthMax = 64;

/**
 * Pointers in Go whose zero means something. A zero in any other scalar field is what Go writes for
 * an absent value, so it is left out of the object.
 */
const zeroMatters = new Set(
  (
    'replicas partition revisionHistoryLimit terminationGracePeriodSeconds gracePeriodSeconds ' +
    'deletionGracePeriodSeconds orphanDependents automountServiceAccountToken ' +
    'enableServiceLinks allocateLoadBalancerNodePorts optional ready serving terminating started ' +
    'runAsUser runAsGroup runAsNonRoot privileged allowPrivilegeEscalation fsGroup hostUsers ' +
    'readOnlyRootFilesystem shareProcessNamespace controller blockOwnerDeletion backoffLimit ' +
    'parallelism completions suspend expirationSeconds mode defaultMode tolerationSeconds ' +
    'immutable setHostnameAsFQDN leaseTransitions allowed priority'
  ).split(' '),
);

/** Reads an enveloped body: its type and the object as JSON would have it. Throws 400. */
export function decodeKubernetesProtobuf(bytes: Uint8Array): {
  object: JsonObject;
  apiVersion: string;
  kind: string;
} {
  try {
    return decodeEnvelope(bytes);
  } catch (error) {
    throw failure(
      400,
      'BadRequest',
      `Cannot read request body: the body is no Kubernetes protobuf: ${messageOf(error)}`,
    );
  }
}

function decodeEnvelope(bytes: Uint8Array): {
  object: JsonObject;
  apiVersion: string;
  kind: string;
} {
  if (new TextDecoder().decode(bytes.subarray(0, 4)) !== 'k8s\0') {
    throw new Error('the first four bytes are not "k8s\\0"');
  }
  let apiVersion = '';
  let kind = '';
  let raw = new Uint8Array();
  readMessage(bytes.subarray(4), (number, value) => {
    if (number === 2) raw = bytesOf(value);
    if (number !== 1) return;
    readMessage(bytesOf(value), (inner, text) => {
      if (inner === 1) apiVersion = textOf(text);
      if (inner === 2) kind = textOf(text);
    });
  });
  const id = typeIdOf(apiVersion, kind);
  const type = id === undefined ? undefined : typeOf(id);
  if (type === undefined) throw new Error(`no kind "${kind}" is registered for "${apiVersion}"`);
  return { object: { apiVersion, kind, ...decodeMessage(type, raw, 0) }, apiVersion, kind };
}

function decodeMessage(type: Type, bytes: Uint8Array, depth: number): JsonObject {
  if (depth > depthMax) throw new Error('the message is nested too deeply');
  const object: JsonObject = {};
  readMessage(bytes, (number, wire) => {
    const field = type.byNumber.get(number);
    if (field === undefined) return;
    if (field.isMap) {
      const map = (object[field.name] ?? {}) as JsonObject;
      const [key, value] = decodeMapEntry(field, bytesOf(wire), depth);
      setOwn(map, key, value);
      object[field.name] = map;
      return;
    }
    const value = decodeValue(field.type, wire, depth);
    if (field.isInline) Object.assign(object, value);
    else if (field.isList) ((object[field.name] ??= []) as unknown[]).push(value);
    else if (!isAbsent(type, field, value)) object[field.name] = value;
  });
  return object;
}

function isAbsent(type: Type, field: Field, value: unknown): boolean {
  if (value === undefined) return true;
  if (field.type === 'Quantity' || field.type === 'bytes') return value === '';
  if (isTypeId(field.type) || field.type === 'IntOrString') return false;
  if (value === '') return true;
  if (value !== 0 && value !== false) return false;
  if (field.isRequired) return false;
  // `replicas` is a pointer where it is wanted and a plain count where it is reported.
  const isCount = field.name === 'replicas' && type.name.endsWith('Status');
  return isCount || !zeroMatters.has(field.name);
}

function decodeMapEntry(field: Field, bytes: Uint8Array, depth: number): [string, unknown] {
  let key = '';
  let value: unknown = field.type === 'string' || field.type === 'bytes' ? '' : undefined;
  readMessage(bytes, (number, wire) => {
    if (number === 1) key = textOf(wire);
    if (number === 2) value = decodeValue(field.type, wire, depth);
  });
  return [key, value];
}

function decodeValue(type: string, wire: Wire, depth: number): unknown {
  switch (type) {
    case 'string':
      return textOf(wire);
    case 'int32':
      return Number(BigInt.asIntN(32, intOf(wire)));
    case 'int64':
      return Number(BigInt.asIntN(64, intOf(wire)));
    case 'bool':
      return intOf(wire) !== 0n;
    case 'bytes':
      return Buffer.from(bytesOf(wire)).toString('base64');
    default:
      return isTypeId(type) ? decodeNested(type, wire, depth) : decodeSpecial(type, bytesOf(wire));
  }
}

function decodeNested(id: string, wire: Wire, depth: number): JsonObject {
  const type = typeOf(id);
  if (type === undefined) throw new Error(`the schema has no type "${id}"`);
  return decodeMessage(type, bytesOf(wire), depth + 1);
}

function decodeSpecial(type: string, bytes: Uint8Array): unknown {
  const parts = new Map<number, Wire[]>();
  readMessage(bytes, (number, wire) => parts.set(number, [...(parts.get(number) ?? []), wire]));
  const int = (number: number) => {
    const wire = parts.get(number)?.at(-1);
    return wire === undefined ? 0n : BigInt.asIntN(64, intOf(wire));
  };
  const text = (number: number) => {
    const wire = parts.get(number)?.at(-1);
    return wire === undefined ? '' : textOf(wire);
  };
  switch (type) {
    case 'Time':
    case 'MicroTime':
      return timeText(int(1), int(2), type === 'MicroTime');
    case 'Quantity':
      return text(1);
    case 'IntOrString':
      return int(1) === 1n ? text(3) : Number(BigInt.asIntN(32, int(2)));
    case 'RawExtension':
    case 'FieldsV1':
      return text(1) === '' ? undefined : (JSON.parse(text(1)) as unknown);
    case 'StringList':
      return (parts.get(1) ?? []).map(textOf);
    default:
      throw new Error(`the schema has no type "${type}"`);
  }
}

/** RFC 3339; Go writes its zero time as all zeros, which means absent. */
function timeText(seconds: bigint, nanos: bigint, isMicro: boolean): string | undefined {
  if (seconds === 0n && nanos === 0n) return undefined;
  const iso = new Date(Number(seconds) * 1000).toISOString().slice(0, 19);
  if (!isMicro) return `${iso}Z`;
  return `${iso}.${(nanos / 1000n).toString().padStart(6, '0')}Z`;
}

// ---- the wire: https://protobuf.dev/programming-guides/encoding/

/** A varint, or the bytes of a length-delimited or fixed field. */
type Wire = bigint | Uint8Array;

function intOf(wire: Wire): bigint {
  if (typeof wire !== 'bigint') throw new Error('a number was expected');
  return wire;
}

function bytesOf(wire: Wire): Uint8Array<ArrayBuffer> {
  if (typeof wire === 'bigint') throw new Error('bytes were expected');
  return wire as Uint8Array<ArrayBuffer>;
}

const strictUtf8 = new TextDecoder('utf-8', { fatal: true });

function textOf(wire: Wire): string {
  return strictUtf8.decode(bytesOf(wire));
}

function readMessage(bytes: Uint8Array, each: (number: number, value: Wire) => void): void {
  let at = 0;
  const varint = (): bigint => {
    let value = 0n;
    for (let shift = 0n; shift < 70n; shift += 7n) {
      const byte = bytes[at];
      if (byte === undefined) throw new Error('the bytes end within a number');
      at += 1;
      value |= BigInt(byte & 0x7f) << shift;
      if (byte < 0x80) return BigInt.asUintN(64, value);
    }
    throw new Error('a number is longer than ten bytes');
  };
  const take = (length: number): Uint8Array => {
    if (length > bytes.length - at) throw new Error('the bytes end within a field');
    at += length;
    return bytes.subarray(at - length, at);
  };
  while (at < bytes.length) {
    const tag = varint();
    const number = Number(tag >> 3n);
    switch (Number(tag & 7n)) {
      case 0:
        each(number, varint());
        break;
      case 1:
        each(number, take(8));
        break;
      case 2:
        each(number, take(Number(varint())));
        break;
      case 5:
        each(number, take(4));
        break;
      default:
        throw new Error(`field ${number} has the unknown wire type ${tag & 7n}`);
    }
  }
}
