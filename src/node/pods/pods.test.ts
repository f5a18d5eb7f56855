/** The pure parts of a pod's life: addresses, back-off, user mapping, phases. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, test } from 'node:test';
import type { Container, ContainerState, Pod } from '../../api/types.ts';
import { parseCidr } from '../../lib/ip.ts';
import { AddressPool } from './address-pool.ts';
import { formatDelay, nextBackOff, type BackOff } from './back-off.ts';
import { containerSpec } from './container-spec.ts';
import { phaseOf, podStatus, type ContainerView, type PodView } from './status.ts';

const dir = mkdtempSync(join(tmpdir(), 'fairlead-pods-'));
after(() => rmSync(dir, { recursive: true, force: true }));
const cidrs = (...texts: string[]) => texts.map((text) => parseCidr(text)!);

test('[K2] one address per family, the same place in both, and the same again', () => {
  const pool = new AddressPool(cidrs('10.244.1.0/24', 'fd00:1::/64'), join(dir, 'dual.json'));
  assert.deepEqual(pool.assign('a'), ['10.244.1.2', 'fd00:1::2']);
  assert.deepEqual(pool.assign('b'), ['10.244.1.3', 'fd00:1::3']);
  assert.deepEqual(pool.assign('a'), ['10.244.1.2', 'fd00:1::2']);
});

for (const [family, range, last] of [
  ['IPv4', '10.244.1.0/29', 5],
  ['IPv6', 'fd00:1::/125', 6],
] as const) {
  test(`[K2] ${family}: an address given back is handed out last, a held one never`, () => {
    const pool = new AddressPool(cidrs(range), join(dir, `${family}.json`));
    const first = pool.assign('keeps');
    const seen: string[] = [];
    for (let round = 0; round < last - 1; round += 1) {
      seen.push(pool.assign(`p${round}`)[0]!);
      pool.release(`p${round}`);
    }
    assert.equal(new Set(seen).size, last - 1);
    assert.equal(pool.assign('next')[0], seen[0]);
    assert.ok(!seen.includes(first[0]!));
  });

  test(`[K2] ${family}: a full range says so`, () => {
    const pool = new AddressPool(cidrs(range), join(dir, `full-${family}.json`));
    for (let index = 0; index < last; index += 1) pool.assign(`p${index}`);
    assert.throws(() => pool.assign('more'), /Cannot assign a pod address from/);
  });
}

test('[K6] what is held and whose turn it is survives a restart', () => {
  const path = join(dir, 'restart.json');
  const before = new AddressPool(cidrs('10.244.1.0/24'), path);
  before.assign('a');
  before.assign('b');
  before.release('b');
  const pool = new AddressPool(cidrs('10.244.1.0/24'), path);
  assert.deepEqual(pool.assign('a'), ['10.244.1.2']);
  assert.deepEqual(pool.assign('c'), ['10.244.1.4']);
});

test('[K17] back-off: at once, then 10 s doubling to 5 min, forgotten after 10 min', () => {
  const delays: string[] = [];
  let last: BackOff | undefined;
  for (let restart = 0; restart < 8; restart += 1) {
    last = nextBackOff(last, 1000);
    delays.push(formatDelay(last.delayMs));
  }
  assert.deepEqual(delays, ['0s', '10s', '20s', '40s', '1m20s', '2m40s', '5m0s', '5m0s']);
  assert.equal(nextBackOff(last, 600_000).delayMs, 0);
});

const podWith = (spec: Partial<Pod['spec']> = {}): Pod => ({
  metadata: { name: 'web', namespace: 'shop', uid: 'u' },
  spec: { containers: [], ...spec },
});
const specOf = (pod: Pod, container: Partial<Container>) =>
  containerSpec({
    pod,
    container: { name: 'c', image: 'host', ...container },
    attempt: 0,
    command: [],
    args: [],
    env: {},
    mounts: [],
  });

for (const [title, podLevel, own, expected] of [
  ['nobody by default', {}, {}, { user: 65_534, group: 65_534 }],
  ['the pod', { runAsUser: 1000, runAsGroup: 2000 }, {}, { user: 1000, group: 2000 }],
  ['the container wins', { runAsUser: 1000 }, { runAsUser: 5 }, { user: 5, group: 65_534 }],
  ['root', {}, { runAsUser: 0 }, { user: 0, group: 0, allowPrivilegeEscalation: false }],
  ['privileged', {}, { privileged: true }, { user: 0, allowPrivilegeEscalation: true }],
  [
    'fsGroup is a supplemental group',
    { fsGroup: 7, supplementalGroups: [8] },
    {},
    { supplementalGroups: [8, 7] },
  ],
] as const) {
  test(`[K14] user: ${title}`, () => {
    const securityContext = podLevel as NonNullable<Pod['spec']['securityContext']>;
    const spec = specOf(podWith({ securityContext }), { securityContext: own });
    for (const [key, value] of Object.entries(expected)) {
      assert.deepEqual(spec[key as keyof typeof spec], value, key);
    }
  });
}

test('[K14] runAsNonRoot and user 0 contradict each other', () => {
  const pod = podWith({ securityContext: { runAsNonRoot: true } });
  assert.throws(() => specOf(pod, { securityContext: { runAsUser: 0 } }), /breaks non-root policy/);
});

const running: ContainerState = { running: {} };
const waiting: ContainerState = { waiting: { reason: 'ContainerCreating' } };
const done = (exitCode: number): ContainerState => ({ terminated: { exitCode } });

function view(
  role: ContainerView['role'],
  state: ContainerState,
  more: Partial<ContainerView> = {},
) {
  const name = `${role}-${JSON.stringify(state).length}`;
  return {
    container: { name },
    role,
    state,
    lastState: {},
    ready: state.running !== undefined,
    started: state.running !== undefined,
    restarts: 0,
    imageID: '',
    containerID: '',
    ...more,
  };
}

function podView(policy: string, initialized: boolean, containers: ContainerView[]): PodView {
  return {
    pod: podWith({ restartPolicy: policy as 'Always' }),
    containers,
    initialized,
    sandboxReady: true,
    hostIPs: ['172.29.0.11'],
    podIPs: ['10.244.0.5'],
    startTime: '2026-01-01T00:00:00Z',
    nowMs: 0,
  };
}

const loop = { reason: 'CrashLoopBackOff' };
for (const [title, policy, initialized, containers, phase] of [
  ['nothing started', 'Always', true, [view('main', waiting)], 'Pending'],
  ['one of two runs', 'Always', true, [view('main', running), view('main', waiting)], 'Pending'],
  ['all run', 'Always', true, [view('main', running)], 'Running'],
  [
    'in back-off',
    'Always',
    true,
    [view('main', { waiting: loop }, { lastState: done(1) })],
    'Running',
  ],
  ['init under way', 'Always', false, [view('init', running), view('main', waiting)], 'Pending'],
  ['init failed', 'Never', false, [view('init', done(1)), view('main', waiting)], 'Failed'],
  [
    'init failed, again',
    'Always',
    false,
    [view('init', done(1)), view('main', waiting)],
    'Pending',
  ],
  ['all done', 'Never', true, [view('main', done(0)), view('main', done(0))], 'Succeeded'],
  ['one failed', 'Never', true, [view('main', done(0)), view('main', done(2))], 'Failed'],
  [
    'one failed, one runs',
    'Never',
    true,
    [view('main', running), view('main', done(2))],
    'Running',
  ],
  ['done OnFailure', 'OnFailure', true, [view('main', done(0))], 'Succeeded'],
  ['failed OnFailure', 'OnFailure', true, [view('main', done(1))], 'Running'],
  ['done Always', 'Always', true, [view('main', done(0))], 'Running'],
  [
    'a sidecar does not count',
    'Never',
    true,
    [view('sidecar', running), view('main', done(0))],
    'Succeeded',
  ],
] as const) {
  test(`[K16] phase: ${title} is ${phase}`, () => {
    assert.equal(phaseOf(podView(policy, initialized, [...containers])), phase);
  });
}

test('[K16] conditions keep the time of their last change', () => {
  const base = podView('Always', true, [view('main', running)]);
  const first = podStatus({ ...base, nowMs: 1000 });
  const pod = { ...base.pod, status: first };
  const later = podStatus({ ...base, pod, nowMs: 60_000 });
  assert.deepEqual(later.conditions, first.conditions);
  const unready = [view('main', running, { ready: false })];
  const changed = podStatus({ ...base, pod, nowMs: 60_000, containers: unready });
  const ready = changed.conditions?.find((c) => c.type === 'Ready');
  assert.equal(ready?.status, 'False');
  assert.equal(ready?.reason, 'ContainersNotReady');
  assert.equal(ready?.lastTransitionTime, '1970-01-01T00:01:00Z');
});

test('[K16] a readiness gate that nobody has set holds Ready back', () => {
  const base = podView('Always', true, [view('main', running)]);
  const spec = { ...base.pod.spec, readinessGates: [{ conditionType: 'example.com/lb' }] };
  const status = podStatus({ ...base, pod: { ...base.pod, spec } });
  const of = (type: string) => status.conditions?.find((c) => c.type === type);
  assert.equal(of('ContainersReady')?.status, 'True');
  assert.equal(of('Ready')?.reason, 'ReadinessGatesNotReady');
  assert.match(of('Ready')?.message ?? '', /"example\.com\/lb" does not exist/);
});
