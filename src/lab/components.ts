/** The long-lived processes of a lab. */
import { within } from '../kernel/namespace/within.ts';
import type { LabNode } from './config.ts';
import { nodeNamespaces, type LabPaths } from './paths.ts';
import { startComponent } from './processes.ts';
import { apiListenerFd, handedApiPort } from './rights.ts';

/** API server, controllers and scheduler, in the host's network. */
export function startServer(paths: LabPaths): void {
  startComponent(paths, 'server', ['server'], handedApiPort() === undefined ? [] : [apiListenerFd]);
}

/** Whoever stands for the nodes that are none, in the host's network. */
export function startFakes(paths: LabPaths): void {
  startComponent(paths, 'fakes', ['fakes']);
}

/** Node agent and service proxy, in the node's network. */
export function startAgent(paths: LabPaths, node: LabNode): void {
  within(nodeNamespaces(paths, node.name), () =>
    startComponent(paths, node.name, ['agent', '--node', node.name]),
  );
}
