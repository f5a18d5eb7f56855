/** Nodes and pods that exist in the API alone: a large cluster for whoever watches it. */
import type { Node, Pod, PodStatus, Service } from '../api/types.ts';
import { formatTime } from '../lib/clock.ts';
import { UserError } from '../lib/errors.ts';

/** What a lab is asked for, and keeps. */
export type Fakes = {
  readonly nodes: number;
  readonly pods: number;
  /** The pods belong to these in turn. */
  readonly services: number;
};

export const fakeNamespace = 'fake';
/** Keeps pods of other people away. */
export const fakeTaint = 'fairlead.dev/fake';
const namePattern = /^fake-(\d+)$/;

/** A /24 each of 100.64.0.0/10 (RFC 6598), where a lab has nothing else. */
const nodesMax = 16_384;
export const podsPerNodeMax = 250;
const servicesMax = 60_000;

/** Checks numbers as given on a command line. */
export function planFakes(asked: { nodes: number; pods?: number; services?: number }): Fakes {
  const { nodes, pods = 0 } = asked;
  const services = asked.services ?? Math.ceil(pods / 50);
  check('--fake-nodes', nodes, nodesMax);
  check('--fake-pods', pods, nodes * podsPerNodeMax);
  check('--fake-services', services, servicesMax);
  return { nodes, pods, services };
}

function check(flag: string, value: number, max: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= max) return;
  throw new UserError(
    'BAD_FLAG',
    `Cannot make a large cluster: ${flag} is ${value}, it must be between 0 and ${max}`,
    { hint: `A fake node has up to ${podsPerNodeMax} pods` },
  );
}

export function fakeNodeName(index: number): string {
  return `fake-${index}`;
}

/** The number of a fake node; undefined for a real one. */
export function fakeNodeIndex(name: string | undefined): number | undefined {
  const match = namePattern.exec(name ?? '');
  return match === null ? undefined : Number(match[1]);
}

export function fakeNode(index: number, nowMs: number): Node {
  const name = fakeNodeName(index);
  const podCIDR = `${podPrefix(index)}.0/24`;
  const time = formatTime(nowMs);
  const capacity = { cpu: '64', memory: '256Gi', pods: String(podsPerNodeMax) };
  return {
    metadata: {
      name,
      labels: {
        'kubernetes.io/hostname': name,
        'kubernetes.io/os': 'linux',
        'topology.kubernetes.io/zone': `zone-${index % 3}`,
      },
    },
    spec: {
      podCIDR,
      podCIDRs: [podCIDR],
      taints: [{ key: fakeTaint, effect: 'NoSchedule' }],
    },
    status: {
      capacity,
      allocatable: capacity,
      addresses: [
        { type: 'InternalIP', address: nodeAddress(index) },
        { type: 'Hostname', address: name },
      ],
      conditions: [
        {
          type: 'Ready',
          status: 'True',
          reason: 'Fake',
          message: 'there is no such machine',
          lastHeartbeatTime: time,
          lastTransitionTime: time,
        },
      ],
    },
  };
}

export function fakeService(index: number): Service {
  const name = `svc-${index}`;
  return {
    metadata: { name, namespace: fakeNamespace, labels: { app: name } },
    spec: {
      selector: { app: name },
      ports: [{ name: 'http', protocol: 'TCP', port: 80, targetPort: 8080 }],
    },
  };
}

/** Pod number `index`, on a node and of a Service by turns. */
export function fakePod(index: number, fakes: Fakes): Pod {
  const app = `svc-${index % Math.max(1, fakes.services)}`;
  return {
    metadata: { name: `pod-${index}`, namespace: fakeNamespace, labels: { app } },
    spec: {
      nodeName: fakeNodeName(index % fakes.nodes),
      automountServiceAccountToken: false,
      terminationGracePeriodSeconds: 0,
      containers: [{ name: 'main', image: 'fairlead/pause', ports: [{ containerPort: 8080 }] }],
    },
  };
}

/** As the agent of its node would tell of a pod that runs. `host` numbers it on the node, from 1. */
export function runningStatus(pod: Pod, node: number, host: number, nowMs: number): PodStatus {
  const time = formatTime(nowMs);
  const podIP = `${podPrefix(node)}.${host}`;
  const condition = (type: string) => ({ type, status: 'True' as const, lastTransitionTime: time });
  return {
    phase: 'Running',
    podIP,
    podIPs: [{ ip: podIP }],
    hostIP: nodeAddress(node),
    startTime: time,
    conditions: ['PodScheduled', 'Initialized', 'ContainersReady', 'Ready'].map(condition),
    containerStatuses: pod.spec.containers.map(({ name, image = '' }) => ({
      name,
      image,
      imageID: '',
      ready: true,
      started: true,
      restartCount: 0,
      state: { running: { startedAt: time } },
    })),
  };
}

/** In 198.18.0.0/15, which is for benchmarks (RFC 2544). */
function nodeAddress(index: number): string {
  return `198.${18 + (index >> 16)}.${(index >> 8) & 255}.${index & 255}`;
}

function podPrefix(node: number): string {
  return `100.${64 + (node >> 8)}.${node & 255}`;
}
