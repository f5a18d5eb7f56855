/** Makes a pod's volumes on the node and says what a container sees of them (K13). */
import {
  chmodSync,
  chownSync,
  mkdirSync,
  rmSync,
  statSync,
  writeFileSync,
  type Stats,
} from 'node:fs';
import { dirname, join } from 'node:path';
import type { Container, Pod, Volume } from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';
import type { Mount } from '../runtime.ts';
import { writeAtomicDirectory } from './atomic-directory.ts';
import { volumePayload, type PayloadContext } from './payload.ts';

/** Where the volumes of one pod lie. */
export type VolumeDirs = {
  /** In memory: what the API gave us, and `emptyDir` of medium Memory. */
  readonly memory: string;
  /** On disk: every other `emptyDir`. */
  readonly disk: string;
};

/** A volume that could not be made; the message is the event's. */
export class VolumeError extends UserError {
  override name = 'VolumeError';
  readonly volume: string;

  constructor(volume: string, cause: unknown) {
    const text = cause instanceof Error ? cause.message : String(cause);
    super('VOLUME', `MountVolume.SetUp failed for volume "${volume}" : ${text}`, { cause });
    this.volume = volume;
  }
}

/** Makes every volume, or brings its files up to date. Idempotent. */
export async function prepareVolumes(dirs: VolumeDirs, context: PayloadContext): Promise<void> {
  const volumes = context.pod.spec.volumes ?? [];
  await Promise.all(
    volumes.map(async (volume) => {
      try {
        await prepareVolume(volume, dirs, context);
      } catch (error) {
        throw new VolumeError(volume.name, error);
      }
    }),
  );
}

/** Whether files of the volume follow an object of the API, and so may change later. */
export function isLive(volume: Volume): boolean {
  const { configMap, secret, downwardAPI, projected } = volume;
  return (configMap ?? secret ?? downwardAPI ?? projected) !== undefined;
}

/** The container's mounts of the pod's volumes. */
export function volumeMounts(pod: Pod, container: Container, dirs: VolumeDirs): Mount[] {
  return (container.volumeMounts ?? []).map((mount) => {
    const volume = pod.spec.volumes?.find((v) => v.name === mount.name);
    if (volume === undefined) {
      throw new UserError(
        'VOLUME',
        `Cannot mount volume "${mount.name}": the pod has no volume of that name`,
      );
    }
    return {
      source: volumePath(volume, dirs),
      ...(mount.subPath ? { subPath: checkedSubPath(mount.subPath) } : {}),
      target: mount.mountPath,
      readOnly: mount.readOnly ?? false,
    };
  });
}

export function removeVolumes(dirs: VolumeDirs): void {
  rmSync(dirs.memory, { recursive: true, force: true });
  rmSync(dirs.disk, { recursive: true, force: true });
}

function volumePath(volume: Volume, dirs: VolumeDirs): string {
  if (volume.hostPath !== undefined) return volume.hostPath.path;
  const inMemory = volume.emptyDir === undefined || volume.emptyDir.medium === 'Memory';
  return join(inMemory ? dirs.memory : dirs.disk, volume.name);
}

async function prepareVolume(
  volume: Volume,
  dirs: VolumeDirs,
  context: PayloadContext,
): Promise<void> {
  const path = volumePath(volume, dirs);
  const group = context.pod.spec.securityContext?.fsGroup;
  if (volume.hostPath !== undefined) return prepareHostPath(path, volume.hostPath.type ?? '');
  if (volume.emptyDir !== undefined) return prepareEmptyDir(path, group);
  const payload = await volumePayload(volume, context);
  if (payload === undefined) {
    const kinds = Object.keys(volume).filter((key) => key !== 'name');
    throw new UserError(
      'VOLUME',
      `volume type "${kinds.join(', ') || 'none'}" is not known here; known are emptyDir, ` +
        'configMap, secret, downwardAPI, projected and hostPath',
    );
  }
  writeAtomicDirectory(path, payload, group);
}

function prepareEmptyDir(path: string, group: number | undefined): void {
  mkdirSync(path, { recursive: true });
  // Anyone in the pod may write; with an fsGroup new files go to that group.
  if (group !== undefined) chownSync(path, 0, group);
  chmodSync(path, group === undefined ? 0o777 : 0o2777);
}

const hostPathChecks: Readonly<Record<string, { is: (stats: Stats) => boolean; text: string }>> = {
  Directory: { is: (s) => s.isDirectory(), text: 'a directory' },
  DirectoryOrCreate: { is: (s) => s.isDirectory(), text: 'a directory' },
  File: { is: (s) => s.isFile(), text: 'a file' },
  FileOrCreate: { is: (s) => s.isFile(), text: 'a file' },
  Socket: { is: (s) => s.isSocket(), text: 'a socket' },
  CharDevice: { is: (s) => s.isCharacterDevice(), text: 'a character device' },
  BlockDevice: { is: (s) => s.isBlockDevice(), text: 'a block device' },
};

function prepareHostPath(path: string, type: string): void {
  let stats = statSync(path, { throwIfNoEntry: false });
  if (stats === undefined && (type === 'DirectoryOrCreate' || type === '')) {
    mkdirSync(path, { recursive: true, mode: 0o755 });
  }
  if (stats === undefined && type === 'FileOrCreate') {
    mkdirSync(dirname(path), { recursive: true });
    writeFileSync(path, '', { mode: 0o644, flag: 'a' });
  }
  if (type === '') return;
  stats ??= statSync(path, { throwIfNoEntry: false });
  const check = hostPathChecks[type];
  if (check === undefined) throw new UserError('VOLUME', `unknown hostPath type "${type}"`);
  if (stats === undefined || !check.is(stats)) {
    throw new UserError('VOLUME', `hostPath type check failed: ${path} is not ${check.text}`);
  }
}

/** Only its text: where its links lead is for whoever opens it, since a container can change them. */
function checkedSubPath(subPath: string): string {
  if (subPath.startsWith('/') || subPath.split('/').includes('..')) {
    throw new UserError('VOLUME', `Cannot mount subPath "${subPath}": it leaves the volume`);
  }
  return subPath;
}
