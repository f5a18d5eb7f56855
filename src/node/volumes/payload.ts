/** What a ConfigMap, Secret, downwardAPI or projected volume holds (K13). */
import type {
  ConfigMap,
  DownwardItem,
  KeyToPath,
  Pod,
  Secret,
  Volume,
  VolumeProjection,
} from '../../api/types.ts';
import { UserError } from '../../lib/errors.ts';
import { containerNamed, type ConfigSource } from '../environment/env.ts';
import { fieldText, resourceText, type PodFacts } from '../environment/fields.ts';
import type { Payload, PayloadFile } from './atomic-directory.ts';

export type TokenWish = {
  readonly audience: string | undefined;
  readonly expirationSeconds: number;
};

export type PayloadContext = {
  readonly pod: Pod;
  readonly facts: PodFacts;
  readonly source: ConfigSource;
  /** A token of the pod's service account. */
  readonly token: (wish: TokenWish) => Promise<string>;
};

const defaultMode = 0o644;
/** What the API server gives a token volume that says nothing. */
const tokenSeconds = 3600;

/** The files of the volume; undefined for one that is no set of files. */
export async function volumePayload(
  volume: Volume,
  context: PayloadContext,
): Promise<Payload | undefined> {
  const mode = modeOf(volume);
  const projections = projectionsOf(volume);
  if (projections === undefined) return undefined;
  const parts = await Promise.all(
    projections.map((projection) => projected(projection, mode, context)),
  );
  return new Map<string, PayloadFile>(parts.flatMap((part) => [...part]));
}

function modeOf(volume: Volume): number {
  const of = volume.configMap ?? volume.secret ?? volume.downwardAPI ?? volume.projected;
  return of?.defaultMode ?? defaultMode;
}

function projectionsOf(volume: Volume): VolumeProjection[] | undefined {
  const { configMap, secret, downwardAPI, projected } = volume;
  if (configMap !== undefined) return [{ configMap }];
  if (secret !== undefined) return [{ secret: { ...secret, name: secret.secretName ?? '' } }];
  if (downwardAPI !== undefined) return [{ downwardAPI }];
  return projected === undefined ? undefined : (projected.sources ?? []);
}

async function projected(
  projection: VolumeProjection,
  mode: number,
  context: PayloadContext,
): Promise<Payload> {
  const { configMap, secret, downwardAPI, serviceAccountToken } = projection;
  const namespace = context.pod.metadata.namespace ?? '';
  if (configMap !== undefined) {
    const found = await context.source.configMap(configMap.name);
    return chosen(found && configMapData(found), {
      ...configMap,
      mode,
      kind: 'configmap',
      namespace,
    });
  }
  if (secret !== undefined) {
    const found = await context.source.secret(secret.name);
    return chosen(found && secretData(found), { ...secret, mode, kind: 'secret', namespace });
  }
  if (downwardAPI !== undefined) return downward(downwardAPI.items ?? [], mode, context);
  if (serviceAccountToken !== undefined) {
    const token = await context.token({
      audience: serviceAccountToken.audience,
      expirationSeconds: serviceAccountToken.expirationSeconds ?? tokenSeconds,
    });
    return new Map([[safePath(serviceAccountToken.path), { bytes: Buffer.from(token), mode }]]);
  }
  throw new UserError(
    'VOLUME',
    `Cannot project source "${Object.keys(projection).join(', ')}": only configMap, secret, ` +
      'downwardAPI and serviceAccountToken are known',
  );
}

type Choice = {
  readonly name: string;
  readonly namespace: string;
  readonly kind: 'configmap' | 'secret';
  readonly items?: readonly KeyToPath[];
  readonly optional?: boolean;
  readonly mode: number;
};

/** All keys, or the named ones under their own paths. */
function chosen(data: Map<string, Uint8Array> | undefined, choice: Choice): Payload {
  if (data === undefined) {
    if (choice.optional) return new Map();
    throw new UserError('VOLUME', `${choice.kind} "${choice.name}" not found`);
  }
  const { items, mode } = choice;
  if (items === undefined || items.length === 0) {
    return new Map([...data].map(([key, bytes]) => [key, { bytes, mode }]));
  }
  const files = new Map<string, PayloadFile>();
  for (const item of items) {
    const bytes = data.get(item.key);
    if (bytes !== undefined) files.set(safePath(item.path), { bytes, mode: item.mode ?? mode });
    else if (!choice.optional) {
      const what = choice.kind === 'secret' ? 'secret' : 'config';
      throw new UserError('VOLUME', `references non-existent ${what} key: ${item.key}`);
    }
  }
  return files;
}

function downward(items: readonly DownwardItem[], mode: number, context: PayloadContext): Payload {
  const { pod, facts } = context;
  const files = new Map<string, PayloadFile>();
  for (const item of items) {
    let text = '';
    if (item.fieldRef !== undefined) text = fieldText(pod, item.fieldRef.fieldPath, facts);
    const ref = item.resourceFieldRef;
    const container = containerNamed(pod, ref?.containerName);
    if (ref !== undefined && container !== undefined) text = resourceText(container, ref, facts);
    files.set(safePath(item.path), { bytes: Buffer.from(text), mode: item.mode ?? mode });
  }
  return files;
}

/** The API refuses such paths; a second look keeps a foreign API server from writing elsewhere. */
function safePath(path: string): string {
  if (path.startsWith('/') || path.split('/').some((part) => part === '..' || part === '')) {
    throw new UserError('VOLUME', `Cannot write volume file "${path}": the path leaves the volume`);
  }
  return path;
}

function configMapData(configMap: ConfigMap): Map<string, Uint8Array> {
  const { data = {}, binaryData = {} } = configMap;
  return new Map([
    ...Object.entries(data).map(([key, text]) => [key, Buffer.from(text)] as const),
    ...Object.entries(binaryData).map(([key, text]) => [key, decodeBase64(text)] as const),
  ]);
}

function secretData(secret: Secret): Map<string, Uint8Array> {
  return new Map(Object.entries(secret.data ?? {}).map(([key, t]) => [key, decodeBase64(t)]));
}

function decodeBase64(text: string): Uint8Array {
  return Buffer.from(text, 'base64');
}
