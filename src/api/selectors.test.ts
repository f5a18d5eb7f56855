import assert from 'node:assert/strict';
import { test } from 'node:test';

import { resources } from './resources.ts';
import {
  formatLabelSelector,
  matchesFields,
  matchesLabels,
  parseFieldSelector,
  parseLabelSelector,
  selects,
} from './selectors.ts';
import { ApiError } from './status.ts';

const labels = { app: 'web', tier: 'front', 'k8s.io/part': 'a', n: '5', empty: '' };

const matches: [selector: string, want: boolean][] = [
  ['', true],
  ['app=web', true],
  ['app==web', true],
  ['app=api', false],
  ['app!=api', true],
  ['app!=web', false],
  ['missing!=x', true],
  ['app in (web, api)', true],
  ['app in(api)', false],
  ['app notin (api)', true],
  ['missing notin (api)', true],
  ['app', true],
  ['missing', false],
  ['constructor', false],
  ['!toString', true],
  ['!missing', true],
  ['!service.kubernetes.io/service-proxy-name', true],
  ['!app', false],
  ['app=web,tier=front', true],
  ['app=web,tier=back', false],
  ['app=web, tier in (front, back),!missing', true],
  ['k8s.io/part=a', true],
  ['empty=', true],
  ['empty in (,x)', true],
  ['n>4', true],
  ['n>5', false],
  ['n<6', true],
  ['app>4', false],
];
for (const [selector, want] of matches) {
  test(`[A71] "${selector}" ${want ? 'matches' : 'does not match'}`, () => {
    assert.equal(matchesLabels(parseLabelSelector(selector), labels), want);
  });
}

for (const selector of [
  '=',
  ',',
  'a=b,',
  'a in',
  'a in (b',
  'a b',
  'a=b c',
  '!',
  'a=(b)',
  'a/b/c',
  'a=b@c',
  'n>x',
  '-a',
]) {
  test(`[A71] refuses "${selector}"`, () => {
    assert.throws(
      () => parseLabelSelector(selector),
      (error) => error instanceof ApiError && error.code === 400,
    );
  });
}

test('[A71] selector objects', () => {
  const selector = {
    matchLabels: { b: '2', a: '1' },
    matchExpressions: [
      { key: 'c', operator: 'In' as const, values: ['y', 'x'] },
      { key: 'd', operator: 'DoesNotExist' as const },
    ],
  };
  assert.equal(formatLabelSelector(selector), 'a=1,b=2,c in (x,y),!d');
  assert.equal(selects(selector, { a: '1', b: '2', c: 'x' }), true);
  assert.equal(selects(selector, { a: '1', b: '2', c: 'x', d: '' }), false);
  assert.equal(selects({}, undefined), true, 'an empty selector selects everything');
  assert.equal(selects(undefined, {}), false, 'an absent one nothing');
});

const pod = {
  metadata: { name: 'p', namespace: 'default' },
  spec: { nodeName: 'n1', containers: [] },
  status: { phase: 'Running', podIP: '10.0.0.1', podIPs: [{ ip: '10.0.0.1' }, { ip: 'fd00::1' }] },
};
const fields: [selector: string, want: boolean][] = [
  ['', true],
  ['metadata.name=p', true],
  ['metadata.name==q', false],
  ['metadata.name!=q', true],
  ['metadata.namespace=default,spec.nodeName=n1', true],
  ['status.phase!=Succeeded,status.phase!=Failed,status.phase!=Unknown', true],
  ['spec.nodeName=', false],
  ['status.nominatedNodeName=', true],
  ['spec.hostNetwork=false', true],
  ['status.podIPs=fd00::1', true],
  ['status.podIPs=10.0.0.1', true],
  ['metadata.name=a\\,b', false],
];
for (const [selector, want] of fields) {
  test(`[A72] [A73] "${selector}" ${want ? 'matches' : 'does not match'} the pod`, () => {
    assert.equal(matchesFields(parseFieldSelector(resources.pods, selector), pod), want);
  });
}

test('[A72] refuses what it cannot select by', () => {
  assert.throws(
    () => parseFieldSelector(resources.pods, 'spec.foo=1'),
    /field label not supported: spec.foo/,
  );
  assert.throws(
    () => parseFieldSelector(resources.configmaps, 'data=1'),
    /not a known field selector/,
  );
  assert.throws(() => parseFieldSelector(resources.pods, 'metadata.name'), /invalid selector/);
});

test("[A73] an event's source is its component", () => {
  const event = { metadata: { name: 'e' }, source: { component: 'kubelet' } };
  assert.equal(matchesFields(parseFieldSelector(resources.events, 'source=kubelet'), event), true);
});
