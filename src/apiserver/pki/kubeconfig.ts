/** The file that points kubectl at a cluster. */
import type { KeyPair } from './certificates.ts';

export type KubeconfigOptions = {
  /** Names the cluster, the user and the context. */
  readonly name: string;
  /** Such as `https://172.29.0.1:6443`. */
  readonly server: string;
  /** PEM. */
  readonly ca: string;
  readonly client: KeyPair;
};

/** A kubeconfig that holds everything it needs. JSON, which every YAML reader takes. */
export function kubeconfigText({ name, server, ca, client }: KubeconfigOptions): string {
  const base64 = (text: string) => Buffer.from(text).toString('base64');
  const config = {
    apiVersion: 'v1',
    kind: 'Config',
    clusters: [{ name, cluster: { server, 'certificate-authority-data': base64(ca) } }],
    users: [
      {
        name,
        user: {
          'client-certificate-data': base64(client.cert),
          'client-key-data': base64(client.key),
        },
      },
    ],
    contexts: [{ name, context: { cluster: name, user: name } }],
    'current-context': name,
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}
