/** Where the runtime keeps its files. Everything is found again from these after a restart. */
import { join } from 'node:path';

export type ContainerName = {
  readonly podUid: string;
  readonly name: string;
  readonly attempt: string;
};

/** Takes `<podUid>/<container name>/<attempt>` apart; throws RangeError when it is not one. */
export function parseContainerId(id: string): ContainerName {
  // Names start with a letter or a digit, so that no part of a path means "up".
  const match = /^(\w[\w.-]*)\/(\w[\w.-]*)\/(\d+)$/.exec(id);
  const [, podUid, name, attempt] = match ?? [];
  if (podUid === undefined || name === undefined || attempt === undefined) {
    throw new RangeError(`"${id}" is not a container id`);
  }
  return { podUid, name, attempt };
}

/** The paths below one runtime directory; `logsDir` may lie on a disk. */
export function runtimePaths(runtimeDir: string, logsDir: string) {
  const podDir = (podUid: string) => join(runtimeDir, 'pods', podUid);
  const containerDir = (id: string) => {
    const { podUid, name, attempt } = parseContainerId(id);
    return join(podDir(podUid), 'containers', name, attempt);
  };
  const logDir = (podUid: string) => join(logsDir, podUid);
  return {
    podsDir: join(runtimeDir, 'pods'),
    /** An empty directory: each container's root is put together on top of it. */
    stagingDir: join(runtimeDir, 'root'),
    echoSocket: join(runtimeDir, 'echo.sock'),
    podDir,
    sandboxFile: (podUid: string) => join(podDir(podUid), 'sandbox.json'),
    pin: (podUid: string, kind: 'net' | 'uts' | 'ipc') => join(podDir(podUid), kind),
    containersDir: (podUid: string) => join(podDir(podUid), 'containers'),
    containerDir,
    recordFile: (id: string) => join(containerDir(id), 'record.json'),
    exitFile: (id: string) => join(containerDir(id), 'exit'),
    /** There once a client was attached, not empty once one sent input. */
    attachedFile: (id: string) => join(containerDir(id), 'attached'),
    logDir,
    rawLogs(id: string): { stdout: string; stderr: string } {
      const { podUid, name, attempt } = parseContainerId(id);
      const base = join(logDir(podUid), `${name}-${attempt}`);
      return { stdout: `${base}.stdout`, stderr: `${base}.stderr` };
    },
  };
}

export type RuntimePaths = ReturnType<typeof runtimePaths>;
