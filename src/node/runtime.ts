/**
 * What runs containers for the node agent. The agent decides (when to start, restart, stop);
 * a runtime only does. Everything it starts survives the agent: a restarted agent calls `adopt`.
 */

import type { Socket } from 'node:net';

/** Where a pod's sandbox lives. Addresses are canonical text with no prefix. */
export type SandboxSpec = {
  readonly podUid: string;
  readonly namespace: string;
  readonly name: string;
  readonly hostname: string;
  readonly hostNetwork: boolean;
  /** One per family; empty for hostNetwork. */
  readonly podIPs: readonly string[];
  readonly sysctls: readonly { name: string; value: string }[];
};

export type Mount = {
  /** Path on the node. */
  readonly source: string;
  /** A path below `source` to mount in its place; links may not lead out. Made when missing. */
  readonly subPath?: string;
  /** Path in the container. */
  readonly target: string;
  readonly readOnly: boolean;
};

export type ContainerSpec = {
  /** Unique on the node: `<podUid>/<container name>/<attempt>`. */
  readonly id: string;
  readonly podUid: string;
  readonly name: string;
  /** `host`, or a built-in one such as `fairlead/echo`. */
  readonly image: string;
  /** Empty: the image's own command. */
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly env: Readonly<Record<string, string>>;
  readonly workingDir: string;
  readonly user: number;
  readonly group: number;
  readonly supplementalGroups: readonly number[];
  readonly privileged: boolean;
  readonly allowPrivilegeEscalation: boolean;
  readonly readOnlyRootFilesystem: boolean;
  readonly capabilities: { readonly add: readonly string[]; readonly drop: readonly string[] };
  readonly mounts: readonly Mount[];
  /** Container ports, for built-in images that listen where the pod says. */
  readonly ports: readonly { port: number; protocol: 'TCP' | 'UDP' | 'SCTP' }[];
  /** It reads what attached clients send; absent: it reads the end of a file at once. */
  readonly stdin?: boolean;
  /** Its input ends for good when the first attached client leaves. */
  readonly stdinOnce?: boolean;
  /** It runs on a terminal; everything it says counts as standard output. */
  readonly tty?: boolean;
};

/** Times are milliseconds since the epoch. */
export type ContainerState =
  | { readonly kind: 'running'; readonly startedAt: number }
  | {
      readonly kind: 'exited';
      readonly startedAt: number;
      readonly finishedAt: number;
      readonly exitCode: number;
      readonly signal: number;
    };

export type ExecSpec = {
  readonly command: readonly string[];
  readonly tty: boolean;
  readonly stdin: boolean;
};

/** A command running inside a container. With a tty, everything comes on `stdout`. */
export type ExecSession = {
  readonly stdin: NodeJS.WritableStream | undefined;
  readonly stdout: NodeJS.ReadableStream;
  readonly stderr: NodeJS.ReadableStream | undefined;
  resize(size: { columns: number; rows: number }): void;
  /** The exit code; 128+n after signal n. */
  readonly exit: Promise<number>;
  kill(): void;
};

/** An attached client's way into a container; the output is in the raw logs. */
export type Attachment = {
  /** No client was attached to this run before. */
  readonly isFirst: boolean;
  /** Absent when the client sends nothing, or the container reads nothing (any more). */
  readonly stdin: NodeJS.WritableStream | undefined;
  resize(size: { columns: number; rows: number }): void;
  /** The client is gone. */
  detach(): void;
};

export interface Runtime {
  /** Shown in `kubectl get nodes -o wide`, such as `fairlead://0.1.0`. */
  readonly version: string;
  /** Whether the image can run here; the text says why not, for the pod's event. */
  refuses(image: string): string | undefined;
  /** Makes the pod's namespaces, its veth pair, addresses and routes. Idempotent. */
  createSandbox(spec: SandboxSpec): Promise<void>;
  /** Removes whatever `createSandbox` made, and kills what still runs inside. Idempotent. */
  removeSandbox(podUid: string): Promise<void>;
  start(spec: ContainerSpec): Promise<void>;
  /** Sends the signal to the container's main process; nothing when it is gone. */
  signal(containerId: string, signal: 'SIGTERM' | 'SIGKILL'): Promise<void>;
  /** Forgets an exited container and deletes its files but the logs. */
  remove(containerId: string): Promise<void>;
  state(containerId: string): ContainerState | undefined;
  /** Called with the container id whenever a state changes. */
  onChange(listener: (containerId: string) => void): void;
  exec(containerId: string, spec: ExecSpec): Promise<ExecSession>;
  /** `stdin`: the client sends input. */
  attach(containerId: string, wishes: { stdin: boolean }): Attachment;
  /** Connects to localhost inside the pod. Absent: the agent connects to the pod's address. */
  dial?(podUid: string, port: number): Promise<Socket>;
  /** Absolute path of the raw output files of a container, for the log pipeline. */
  rawLogs(containerId: string): { stdout: string; stderr: string };
  /** Finds what an earlier agent left running: sandboxes and containers by id. */
  adopt(): Promise<{ sandboxes: string[]; containers: string[] }>;
}
