import assert from 'node:assert/strict';
import { test } from 'node:test';

import { decodeBody } from './decode.ts';
import { conform, parseFieldValidation } from './fields.ts';
import { ApiError } from './status.ts';

const read = (object: object) =>
  decodeBody('application/json', new TextEncoder().encode(JSON.stringify(object)));

const service = (spec: object) => ({
  apiVersion: 'v1',
  kind: 'Service',
  metadata: { name: 's' },
  spec,
});
const pod = (container: object) => ({
  apiVersion: 'v1',
  kind: 'Pod',
  metadata: { name: 'p' },
  spec: { containers: [{ name: 'c', ...container }] },
});

const unknown: [name: string, object: object, want: string[]][] = [
  ['none', service({ type: 'ClusterIP', ports: [{ port: 80 }] }), []],
  ['in the spec', service({ colour: 1, type: 'ClusterIP' }), ['unknown field "spec.colour"']],
  [
    'in a list',
    service({ ports: [{ port: 1 }, { prot: 1 }] }),
    ['unknown field "spec.ports[1].prot"'],
  ],
  ['at the top', { ...service({}), extra: {} }, ['unknown field "extra"']],
  [
    'in metadata',
    { ...service({}), metadata: { name: 's', lables: {} } },
    ['unknown field "metadata.lables"'],
  ],
  ['in another case', service({ clusterip: 'x' }), ['unknown field "spec.clusterip"']],
  [
    'of a probe, whose handler is inlined',
    pod({ readinessProbe: { httpGet: { port: 1 }, http: 1 } }),
    ['unknown field "spec.containers[0].readinessProbe.http"'],
  ],
  [
    'of a template',
    {
      apiVersion: 'apps/v1',
      kind: 'Deployment',
      metadata: {},
      spec: { template: { kind: 'Pod', spec: { containers: [] } } },
    },
    ['unknown field "spec.template.kind"'],
  ],
];
for (const [name, object, want] of unknown) {
  test(`[A46] unknown fields ${name}`, () => {
    assert.deepEqual(conform(read(object), 'Warn').warnings, want);
    assert.deepEqual(conform(read(object), 'Ignore').warnings, []);
    if (want.length === 0) {
      conform(read(object), 'Strict');
      return;
    }
    assert.throws(
      () => conform(read(object), 'Strict'),
      (error) =>
        error instanceof ApiError &&
        error.code === 400 &&
        error.message.endsWith(`strict decoding error: ${want.join(', ')}`),
    );
  });
}

test("[A46] the message is the API server's", () => {
  assert.throws(() => conform(read(service({ foo: 1 })), 'Strict'), {
    message:
      'Service in version "v1" cannot be handled as a Service: ' +
      'strict decoding error: unknown field "spec.foo"',
  });
});

test('[A46] unknown fields are pruned, nulls and empty lists and maps left out', () => {
  const object = {
    ...service({ foo: 1, selector: {}, externalIPs: [], clusterIP: null }),
    status: null,
  };
  assert.deepEqual(conform(read(object), 'Ignore').object, service({}));
});

test('[A46] fieldValidation is Strict, Warn or Ignore', () => {
  assert.equal(parseFieldValidation(undefined), 'Warn');
  assert.equal(parseFieldValidation('Strict'), 'Strict');
  assert.throws(() => parseFieldValidation('strict'), /Unsupported value: "strict"/);
});

// The texts of Go's encoding/json and of resource.ParseQuantity, as the API server passes them on.
const wrong: [name: string, object: object, message: string][] = [
  [
    'text for a number',
    service({ ports: [{ port: '80' }] }),
    'json: cannot unmarshal string into Go struct field ServicePort.spec.ports.port of type int32',
  ],
  [
    'a number for text',
    service({ type: 1 }),
    'json: cannot unmarshal number into Go struct field ServiceSpec.spec.type of type string',
  ],
  [
    'a fraction for a number',
    service({ ports: [{ port: 1.5 }] }),
    'json: cannot unmarshal number 1.5 into Go struct field ServicePort.spec.ports.port of type int32',
  ],
  [
    'a number too large',
    service({ ports: [{ port: 2 ** 40 }] }),
    'json: cannot unmarshal number 1099511627776 into Go struct field ServicePort.spec.ports.port of type int32',
  ],
  [
    'an object for a list',
    service({ ports: {} }),
    'json: cannot unmarshal object into Go struct field ServiceSpec.spec.ports of type []v1.ServicePort',
  ],
  [
    'a list for an object',
    service([]),
    'json: cannot unmarshal array into Go struct field Service.spec of type v1.ServiceSpec',
  ],
  [
    'a number for a label',
    { ...service({}), metadata: { labels: { a: 1 } } },
    'json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string',
  ],
  [
    'text for a truth value',
    pod({ tty: 'yes' }),
    'json: cannot unmarshal string into Go struct field Container.spec.containers.tty of type bool',
  ],
  [
    'a bad quantity',
    pod({ resources: { limits: { cpu: 'much' } } }),
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'",
  ],
  [
    'bad base64',
    { apiVersion: 'v1', kind: 'Secret', metadata: {}, data: { a: 'a_b=' } },
    'illegal base64 data at input byte 1 of data.a',
  ],
];
for (const [name, object, message] of wrong) {
  test(`[A46] refuses ${name}`, () => {
    assert.throws(
      () => conform(read(object), 'Ignore'),
      (error) =>
        error instanceof ApiError && error.code === 400 && error.message.endsWith(`: ${message}`),
    );
  });
}

test('[A33] refuses a kind nobody knows', () => {
  assert.throws(
    () => conform(read({ apiVersion: 'v1', kind: 'Nope' }), 'Ignore'),
    /no kind "Nope" is registered/,
  );
});

test('times become UTC seconds, quantities canonical', () => {
  const { object } = conform(
    read({
      ...pod({ resources: { requests: { cpu: 0.1, memory: '1024Mi' } } }),
      metadata: { creationTimestamp: '2024-01-02T03:04:05.678+01:00' },
    }),
    'Strict',
  );
  assert.equal(object.metadata.creationTimestamp, '2024-01-02T02:04:05Z');
  const { spec } = object as unknown as { spec: { containers: { resources: object }[] } };
  assert.deepEqual(spec.containers[0]?.resources, { requests: { cpu: '100m', memory: '1Gi' } });
});

test('an object without metadata gets an empty one, options do not', () => {
  for (const metadata of [undefined, null]) {
    const { object } = conform(read({ apiVersion: 'v1', kind: 'Pod', metadata }), 'Strict');
    assert.deepEqual(object.metadata, {});
  }
  const options = { apiVersion: 'v1', kind: 'DeleteOptions', gracePeriodSeconds: 0 };
  assert.deepEqual(conform(read(options), 'Strict').object, options);
});

test('[A46] a key named __proto__ is a key like any other', () => {
  const body =
    '{"apiVersion":"v1","kind":"ConfigMap","data":{"__proto__":"x"},"__proto__":{"a":1}}';
  const decoded = decodeBody('application/json', new TextEncoder().encode(body));
  const { object, warnings } = conform(decoded, 'Warn');
  assert.deepEqual(warnings, ['unknown field "__proto__"']);
  assert.equal(Object.getPrototypeOf(object), Object.prototype);
  const { data } = object as unknown as { data: object };
  assert.deepEqual(Object.entries(data), [['__proto__', 'x']]);
});
