import assert from 'node:assert/strict';
import { test } from 'node:test';

import { assert as check, json, property, uint8Array } from 'fast-check';

import { decodeBody } from './decode.ts';
import { ApiError } from './status.ts';

const text = (value: string) => new TextEncoder().encode(value);
const hex = (value: string) => Uint8Array.from(Buffer.from(value.replaceAll(/\s/g, ''), 'hex'));

test('[A21] JSON, with and without a content type', () => {
  for (const type of [undefined, '', 'application/json', 'application/json; charset=utf-8']) {
    const decoded = decodeBody(type, text('{"apiVersion":"v1","kind":"Pod","spec":{}}'));
    assert.equal(decoded.apiVersion, 'v1');
    assert.equal(decoded.kind, 'Pod');
    assert.deepEqual(decoded.duplicates, []);
  }
});

test('[A21] YAML keeps yes and no as text', () => {
  const decoded = decodeBody(
    'application/yaml',
    text('apiVersion: v1\nkind: ConfigMap\ndata: {a: yes, b: "1"}'),
  );
  assert.deepEqual(decoded.object, {
    apiVersion: 'v1',
    kind: 'ConfigMap',
    data: { a: 'yes', b: '1' },
  });
});

const duplicates: [name: string, type: string, body: string, want: string[]][] = [
  ['none', 'application/json', '{"a":[{"b":1},{"b":2}]}', []],
  ['at the top', 'application/json', '{"a":1,"a":2}', ['a']],
  [
    'within a list',
    'application/json',
    '{"spec":{"ports":[{"x":"}\\"","x":[]}]}}',
    ['spec.ports[0].x'],
  ],
  ['escaped alike', 'application/json', '{"a":1,"\\u0061":2}', ['a']],
  ['in YAML', 'application/yaml', 'spec:\n  type: A\n  type: B\n', ['spec.type']],
  ['in YAML lists', 'application/yaml', 'l:\n- a: 1\n  a: 2\n', ['l[0].a']],
];
for (const [name, type, body, want] of duplicates) {
  test(`[A46] duplicate fields: ${name}`, () => {
    assert.deepEqual(decodeBody(type, text(body)).duplicates, want);
  });
}

const refused: [name: string, type: string, body: Uint8Array, code: number, message: RegExp][] = [
  [
    'an unknown type',
    'text/plain',
    text('x'),
    415,
    /accepted media types include: application\/json/,
  ],
  ['broken JSON', 'application/json', text('{'), 400, /the body is no JSON/],
  ['a list', 'application/json', text('[]'), 400, /the body is no object/],
  ['nothing', 'application/json', text(''), 400, /the body is no JSON/],
  ['a numeric kind', 'application/json', text('{"kind":1}'), 400, /must be text/],
  ['bytes that are no text', 'application/json', hex('22ff22'), 400, /no UTF-8/],
  ['broken YAML', 'application/yaml', text('a: [1'), 400, /the body is no YAML/],
  [
    'protobuf without its mark',
    'application/vnd.kubernetes.protobuf',
    hex('00'),
    400,
    /first four bytes/,
  ],
  [
    'protobuf cut short',
    'application/vnd.kubernetes.protobuf',
    hex('6b387300 0a0f 0a0276'),
    400,
    /the bytes end within a field/,
  ],
];
for (const [name, type, body, code, message] of refused) {
  test(`[A21] refuses ${name}`, () => {
    assert.throws(
      () => decodeBody(type, body),
      (error) => error instanceof ApiError && error.code === code && message.test(error.message),
    );
  });
}

// Recorded from kubectl 1.33.1: what the named command sent.
const recorded: { name: string; bytes: string; want: object }[] = [
  {
    name: 'create namespace shop',
    bytes: `6b387300 0a0f0a02 76311209 4e616d65 73706163 65121c0a 140a0473 686f7012 001a0022
      002a0032 00380042 0012001a 020a001a 002200`,
    want: { apiVersion: 'v1', kind: 'Namespace', metadata: { name: 'shop' }, spec: {}, status: {} },
  },
  {
    name: 'create service nodeport web --tcp=80:8080 --node-port=30007',
    bytes: `6b387300 0a0d0a02 76311207 53657276 69636512 6a0a1f0a 03776562 12001a00 22002a00
      32003800 42005a0a 0a036170 70120377 65621243 0a1d0a07 38302d38 30383012 03544350 18502207
      08001090 3f1a0028 b7ea0112 0a0a0361 70701203 7765621a 0022084e 6f646550 6f72743a 00420052
      005a0060 0068001a 020a001a 002200`,
    want: {
      apiVersion: 'v1',
      kind: 'Service',
      metadata: { name: 'web', labels: { app: 'web' } },
      spec: {
        ports: [{ name: '80-8080', protocol: 'TCP', port: 80, targetPort: 8080, nodePort: 30007 }],
        selector: { app: 'web' },
        type: 'NodePort',
      },
      status: { loadBalancer: {} },
    },
  },
  {
    name: 'create secret generic s --from-literal=a=b',
    bytes: `6b387300 0a0c0a02 76311206 53656372 6574121d 0a110a01 7312001a 0022002a 00320038
      00420012 060a0161 1201621a 001a0022 00`,
    want: { apiVersion: 'v1', kind: 'Secret', metadata: { name: 's' }, data: { a: 'Yg==' } },
  },
  {
    name: 'create token default --duration=10m, bound to a pod',
    bytes: `6b387300 0a280a18 61757468 656e7469 63617469 6f6e2e6b 38732e69 6f2f7631 120c546f
      6b656e52 65717565 7374122e 0a100a00 12001a00 22002a00 32003800 42001214 1a0f0a03 506f6412
      0276311a 01702201 7520d804 1a040a00 12001a00 2200`,
    want: {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      metadata: {},
      spec: {
        boundObjectRef: { kind: 'Pod', apiVersion: 'v1', name: 'p', uid: 'u' },
        expirationSeconds: 600,
      },
      status: {},
    },
  },
  {
    name: 'auth can-i create pods',
    bytes: `6b387300 0a320a17 61757468 6f72697a 6174696f 6e2e6b38 732e696f 2f763112 1753656c
      66537562 6a656374 41636365 73735265 76696577 123f0a10 0a001200 1a002200 2a003200 38004200
      12210a1f 0a076465 6661756c 74120663 72656174 651a0022 002a0470 6f647332 003a001a 08080012
      001a0020 001a0022 00`,
    want: {
      apiVersion: 'authorization.k8s.io/v1',
      kind: 'SelfSubjectAccessReview',
      metadata: {},
      spec: { resourceAttributes: { namespace: 'default', verb: 'create', resource: 'pods' } },
      status: { allowed: false },
    },
  },
];
for (const { name, bytes, want } of recorded) {
  test(`[A22] [A23] kubectl ${name}`, () => {
    const decoded = decodeBody('application/vnd.kubernetes.protobuf', hex(bytes));
    assert.deepEqual(decoded.object, want);
  });
}

// Encoded by hand after https://protobuf.dev/programming-guides/encoding/.
const envelope = (version: string, kind: string, raw: string) => {
  const field = (number: number, body: Buffer) =>
    Buffer.concat([Buffer.from([(number << 3) | 2, body.length]), body]);
  const meta = [field(1, Buffer.from(version)), field(2, Buffer.from(kind))];
  return Buffer.concat([
    Buffer.from('k8s\0'),
    field(1, Buffer.concat(meta)),
    field(2, Buffer.from(hex(raw))),
  ]);
};
const corners: { name: string; kind: [string, string]; raw: string; want: object }[] = [
  {
    // renewTime {seconds: 1700000000, nanos: 123456000} is field 4 of the spec, field 2.
    name: 'MicroTime has six decimals',
    kind: ['coordination.k8s.io/v1', 'Lease'],
    raw: '120d 220b 0880e2cfaa06 108098ef3a',
    want: { spec: { renewTime: '2023-11-14T22:13:20.123456Z' } },
  },
  {
    // metadata (1) creationTimestamp (8) {seconds: 1700000000}, deletionTimestamp (9) all zero.
    name: 'Time has seconds, and the zero time is absent',
    kind: ['v1', 'ConfigMap'],
    raw: '0a0e 4206 0880e2cfaa06 4a04 0800 1000',
    want: { metadata: { creationTimestamp: '2023-11-14T22:13:20Z' } },
  },
  {
    // spec (2) replicas (1) 0; minReadySeconds (5) 0 is no pointer in Go.
    name: 'a zero counts where Go has a pointer',
    kind: ['apps/v1', 'Deployment'],
    raw: '1204 0800 2800',
    want: { spec: { replicas: 0 } },
  },
  {
    // spec (2) strategy (4) rollingUpdate (2) maxUnavailable (1) {type 1, strVal "25%"}, maxSurge {0, 1}.
    name: 'IntOrString is a number or a text',
    kind: ['apps/v1', 'Deployment'],
    raw: '1217 2215 1213 0a09 0801 1000 1a03323525 1206 0800 1001 1a00',
    want: {
      spec: { strategy: { rollingUpdate: { maxUnavailable: '25%', maxSurge: 1 } } },
    },
  },
  {
    // data (2) RawExtension {raw (1)}; revision (3) 7.
    name: 'RawExtension carries JSON',
    kind: ['apps/v1', 'ControllerRevision'],
    raw: '1209 0a07 7b2261223a317d 1807',
    want: { data: { a: 1 }, revision: 7 },
  },
  {
    // spec (2) containers (2) {resources (8) limits (1) {key cpu, value Quantity {"1"}}}.
    name: 'Quantity is its text',
    kind: ['v1', 'Pod'],
    raw: '1210 120e 420c 0a0a 0a03637075 1203 0a0131',
    want: { spec: { containers: [{ resources: { limits: { cpu: '1' } } }] } },
  },
  {
    // spec (2) containers (2) {livenessProbe (10) {handler (1) {tcpSocket (3) {port (1) {0, 80}}}}}.
    name: 'a struct embedded in Go adds its fields to the outer object',
    kind: ['v1', 'Pod'],
    raw: '120e 120c 520a 0a08 1a06 0a04 0800 1050',
    want: { spec: { containers: [{ livenessProbe: { tcpSocket: { port: 80 } } }] } },
  },
];
for (const { name, kind, raw, want } of corners) {
  test(`[A23] ${name}`, () => {
    const bytes = envelope(kind[0], kind[1], raw);
    const {
      apiVersion: _,
      kind: __,
      ...object
    } = decodeBody('application/vnd.kubernetes.protobuf', bytes).object;
    assert.deepEqual(object, want);
  });
}

test('[A46] property: JSON as a serializer writes it has no duplicates', () => {
  check(
    property(json(), (body) => {
      for (const value of [body, JSON.stringify({ a: JSON.parse(body) as unknown }, null, 2)]) {
        const wrapped = text(`{"x":${value}}`);
        assert.deepEqual(decodeBody('application/json', wrapped).duplicates, []);
      }
    }),
  );
});

test('[A22] property: broken protobuf is refused, never a crash', () => {
  const pod = (raw: Uint8Array) =>
    envelope('v1', 'Pod', Buffer.from(raw.subarray(0, 100)).toString('hex'));
  check(
    property(uint8Array({ maxLength: 100 }), (raw) => {
      for (const bytes of [raw, Buffer.concat([Buffer.from('k8s\0'), raw]), pod(raw)]) {
        try {
          decodeBody('application/vnd.kubernetes.protobuf', bytes);
        } catch (error) {
          assert.ok(error instanceof ApiError && error.code === 400, String(error));
        }
      }
    }),
  );
});
