/** Service-account tokens of the pods on this node, renewed before they run out (K13). */
import { resources } from '../../api/resources.ts';
import type { Pod, TokenRequest } from '../../api/types.ts';
import type { Client } from '../../client/client.ts';
import type { Clock } from '../../lib/clock.ts';
import type { TokenWish } from './payload.ts';

type Held = { token: string; renewAt: number };

/** A token is replaced at this part of its life, and after a day at the latest, as a kubelet does. */
const renewAfterPart = 0.8;
const renewAfterMsMax = 24 * 3600 * 1000;

export class TokenStore {
  readonly #client: Client;
  readonly #clock: Clock;
  /** By pod uid, then by what was wished for. */
  readonly #held = new Map<string, Map<string, Held>>();

  constructor(client: Client, clock: Clock) {
    this.#client = client;
    this.#clock = clock;
  }

  /** The token held, or a new one when it is time; an old one still serves while the API is away. */
  async token(pod: Pod, wish: TokenWish): Promise<string> {
    const uid = pod.metadata.uid ?? '';
    const ofPod = this.#held.get(uid) ?? new Map<string, Held>();
    this.#held.set(uid, ofPod);
    const key = `${wish.audience ?? ''}/${wish.expirationSeconds}`;
    const held = ofPod.get(key);
    if (held !== undefined && this.#clock.now() < held.renewAt) return held.token;
    const made = await this.#request(pod, wish);
    ofPod.set(key, made);
    return made.token;
  }

  /** When the first token of the pod is due, in milliseconds since the epoch. */
  nextRenewal(podUid: string): number | undefined {
    const due = [...(this.#held.get(podUid)?.values() ?? [])].map((held) => held.renewAt);
    return due.length === 0 ? undefined : Math.min(...due);
  }

  forget(podUid: string): void {
    this.#held.delete(podUid);
  }

  async #request(pod: Pod, wish: TokenWish): Promise<Held> {
    const { namespace = '', name, uid } = pod.metadata;
    const request: Omit<TokenRequest, 'metadata'> = {
      apiVersion: 'authentication.k8s.io/v1',
      kind: 'TokenRequest',
      spec: {
        ...(wish.audience === undefined ? {} : { audiences: [wish.audience] }),
        expirationSeconds: wish.expirationSeconds,
        boundObjectRef: {
          kind: 'Pod',
          apiVersion: 'v1',
          name,
          ...(uid === undefined ? {} : { uid }),
        },
      },
    };
    const now = this.#clock.now();
    const answer = await this.#client.post<TokenRequest>(
      resources.serviceaccounts,
      { namespace, name: pod.spec.serviceAccountName || 'default' },
      'token',
      request,
    );
    const expires = Date.parse(answer.status?.expirationTimestamp ?? '');
    const lifeMs = Number.isNaN(expires) ? wish.expirationSeconds * 1000 : expires - now;
    return {
      token: answer.status?.token ?? '',
      renewAt: now + Math.min(lifeMs * renewAfterPart, renewAfterMsMax),
    };
  }
}
