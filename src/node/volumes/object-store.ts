/**
 * ConfigMaps and Secrets that pods on this node refer to, each followed by a watch of its own: the
 * node learns of nothing it has no pod for.
 */
import { keyText, type KubeObject } from '../../api/meta.ts';
import { resources, type Resource } from '../../api/resources.ts';
import type { ConfigMap, Pod, Secret } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import { Informer } from '../../client/informer.ts';
import type { ConfigSource } from '../environment/env.ts';

type Followed = { informer: Informer<KubeObject>; users: Map<string, () => void> };

export class ObjectStore {
  readonly #client: Client;
  readonly #followed = new Map<string, Followed>();

  constructor(client: Client) {
    this.#client = client;
  }

  /** Reads for one pod; `changed` is called whenever something it has read is different. */
  sourceFor(pod: Pod, changed: () => void): ConfigSource {
    const uid = pod.metadata.uid ?? '';
    const namespace = pod.metadata.namespace ?? '';
    const read = async <T extends KubeObject>(resource: Resource, name: string) => {
      const followed = this.#follow(resource, { namespace, name });
      followed.users.set(uid, changed);
      await followed.informer.synced;
      return followed.informer.get({ namespace, name }) as T | undefined;
    };
    return {
      configMap: (name) => read<ConfigMap>(resources.configmaps, name),
      secret: (name) => read<Secret>(resources.secrets, name),
    };
  }

  /** The pod reads no more; what nobody else reads is no longer followed. */
  release(podUid: string): void {
    for (const [key, { informer, users }] of this.#followed) {
      if (!users.delete(podUid) || users.size > 0) continue;
      informer.stop();
      this.#followed.delete(key);
    }
  }

  stop(): void {
    for (const { informer } of this.#followed.values()) informer.stop();
    this.#followed.clear();
  }

  #follow(resource: Resource, key: { namespace: string; name: string }): Followed {
    const id = `${resource.resource}/${keyText(key)}`;
    const known = this.#followed.get(id);
    if (known !== undefined) return known;
    const informer = new Informer<KubeObject>({
      client: this.#client,
      resource,
      namespace: key.namespace,
      fieldSelector: `metadata.name=${key.name}`,
    });
    const followed: Followed = { informer, users: new Map() };
    this.#followed.set(id, followed);
    // Readers wait for the first list themselves: what it brings is no change to them.
    informer.onChange(() => {
      if (informer.hasSynced) for (const changed of followed.users.values()) changed();
    });
    informer.start();
    return followed;
  }
}
