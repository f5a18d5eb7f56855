/** A pod's sandbox: namespaces pinned below its directory, and its network. */
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { setHostname } from '../../kernel/ffi/process.ts';
import { isPinned, pinNamespace, unpinNamespace } from '../../kernel/namespace/pin.ts';
import { fresh, within, type Namespaces } from '../../kernel/namespace/within.ts';
import { type RouteConnection } from '../../kernel/route/index.ts';
import { type SandboxSpec } from '../runtime.ts';
import { awaitNoLink, bringUpLoopback, connectPod } from './network.ts';
import { type RuntimePaths } from './paths.ts';
import { applySysctls, checkSysctls } from './sysctls.ts';

/** A host name longer than this is refused by the kernel (include/uapi/linux/utsname.h). */
const HOSTNAME_BYTES_MAX = 64;

const kinds = ['net', 'uts', 'ipc'] as const;

export type SandboxTools = {
  readonly paths: RuntimePaths;
  readonly node: () => RouteConnection;
  readonly mtu: number;
};

/** Makes whatever is missing of the sandbox; `sandbox.json` says that all of it is there. */
export function makeSandbox(tools: SandboxTools, spec: SandboxSpec): void {
  const { paths } = tools;
  checkSysctls(spec.sysctls, spec.hostNetwork);
  if (readSandbox(paths, spec.podUid) !== undefined && isWhole(paths, spec)) return;
  mkdirSync(paths.podDir(spec.podUid), { recursive: true, mode: 0o700 });
  const pinned = kindsOf(spec);
  if (!isWhole(paths, spec)) {
    for (const kind of kinds) unpinNamespace(paths.pin(spec.podUid, kind));
    const wanted: Namespaces = Object.fromEntries(pinned.map((kind) => [kind, fresh]));
    within(wanted, () => {
      for (const kind of pinned) pinNamespace(kind, paths.pin(spec.podUid, kind));
      if (!spec.hostNetwork) prepareNamespaces(spec);
    });
  }
  if (!spec.hostNetwork) {
    const netns = paths.pin(spec.podUid, 'net');
    connectPod(tools.node(), { ...spec, netns, mtu: tools.mtu });
  }
  const file = paths.sandboxFile(spec.podUid);
  writeFileSync(`${file}.new`, JSON.stringify(spec), { mode: 0o600 });
  renameSync(`${file}.new`, file);
}

/** Removes namespaces, links and files; the containers are gone already. */
export async function deleteSandbox(tools: SandboxTools, podUid: string): Promise<void> {
  const { paths } = tools;
  // First, so that a crash in the middle leaves a sandbox that the next start takes for half done.
  rmSync(paths.sandboxFile(podUid), { force: true });
  for (const kind of kinds) unpinNamespace(paths.pin(podUid, kind));
  await awaitNoLink(tools.node(), podUid);
  rmSync(paths.logDir(podUid), { recursive: true, force: true });
  rmSync(paths.podDir(podUid), { recursive: true, force: true });
}

/** The namespaces that a container of the pod starts in. */
export function namespacesOf(paths: RuntimePaths, spec: SandboxSpec): Namespaces {
  return Object.fromEntries(kindsOf(spec).map((kind) => [kind, paths.pin(spec.podUid, kind)]));
}

export function readSandbox(paths: RuntimePaths, podUid: string): SandboxSpec | undefined {
  const file = paths.sandboxFile(podUid);
  return existsSync(file) ? (JSON.parse(readFileSync(file, 'utf8')) as SandboxSpec) : undefined;
}

/** Every pod that left something in the runtime directory, whole or not. */
export function listPods(paths: RuntimePaths): string[] {
  return existsSync(paths.podsDir) ? readdirSync(paths.podsDir) : [];
}

/** A pod on its node's network has its node's host name as well. */
function kindsOf(spec: SandboxSpec): readonly (typeof kinds)[number][] {
  return spec.hostNetwork ? ['ipc'] : kinds;
}

function isWhole(paths: RuntimePaths, spec: SandboxSpec): boolean {
  return kindsOf(spec).every((kind) => isPinned(paths.pin(spec.podUid, kind)));
}

function prepareNamespaces(spec: SandboxSpec): void {
  setHostname(spec.hostname.slice(0, HOSTNAME_BYTES_MAX));
  bringUpLoopback();
  applySysctls(spec.sysctls);
}
