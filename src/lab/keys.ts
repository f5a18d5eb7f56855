/** A lab's keys: one authority, and a certificate for everybody who speaks or serves. */
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import {
  createCa,
  createSigningKey,
  issue,
  type CertificateRequest,
} from '../apiserver/pki/certificates.ts';
import { kubeconfigText } from '../apiserver/pki/kubeconfig.ts';
import { addressAt, parseCidr } from '../lib/ip.ts';
import type { LabConfig } from './config.ts';
import { kubeconfigFile, type LabPaths } from './paths.ts';
import { writePrivate } from './state.ts';

type KeyPairFiles = { readonly cert: string; readonly key: string };

export type KeyFiles = {
  readonly ca: string;
  /** Signs service-account tokens. */
  readonly serviceAccountKey: string;
  readonly server: KeyPairFiles;
  readonly admin: KeyPairFiles;
  /** Whom the API server is when it asks an agent for logs. */
  readonly kubeletClient: KeyPairFiles;
  /** An agent, as a client of the API and as a server of logs. */
  agent(node: string): KeyPairFiles;
};

/** Where the keys of a lab lie; the authority's own key is not kept. */
export function keyFiles(paths: LabPaths): KeyFiles {
  const dir = join(paths.state, 'pki');
  const pair = (name: string) => ({
    cert: join(dir, `${name}.crt`),
    key: join(dir, `${name}.key`),
  });
  return {
    ca: join(dir, 'ca.crt'),
    serviceAccountKey: join(dir, 'service-account.key'),
    server: pair('server'),
    admin: pair('admin'),
    kubeletClient: pair('kubelet-client'),
    agent: (node) => pair(`agent-${node}`),
  };
}

/** Makes all keys and the kubeconfig. The authority signs here and now, then its key is forgotten. */
export function writeKeys(lab: LabConfig, paths: LabPaths): void {
  const files = keyFiles(paths);
  mkdirSync(join(paths.state, 'pki'), { recursive: true, mode: 0o700 });
  const ca = createCa(`fairlead-${lab.name}`);
  writePrivate(files.ca, ca.cert);
  writePrivate(files.serviceAccountKey, createSigningKey());
  const write = (target: KeyPairFiles, request: CertificateRequest) => {
    const pair = issue(ca, request);
    writePrivate(target.cert, pair.cert);
    writePrivate(target.key, pair.key);
    return pair;
  };
  write(files.server, serverRequest(lab));
  write(files.kubeletClient, {
    cn: 'kube-apiserver-kubelet-client',
    orgs: ['system:masters'],
    usages: ['client'],
  });
  for (const node of lab.nodes) {
    write(files.agent(node.name), {
      cn: `system:node:${node.name}`,
      orgs: ['system:nodes'],
      ips: node.ips,
      dnsNames: [node.name],
      usages: ['client', 'server'],
    });
  }
  const admin = write(files.admin, {
    cn: 'kubernetes-admin',
    orgs: ['system:masters'],
    usages: ['client'],
  });
  const server = `https://127.0.0.1:${lab.apiPort}`;
  writePrivate(
    kubeconfigFile(paths),
    kubeconfigText({ name: `fairlead-${lab.name}`, server, ca: ca.cert, client: admin }),
  );
}

/** Every name and address by which somebody reaches the API. */
function serverRequest(lab: LabConfig): CertificateRequest {
  const services = lab.serviceCidrs.map((cidr) => addressAt(parseCidr(cidr)!, 1));
  const names = [
    'kubernetes',
    'kubernetes.default',
    'kubernetes.default.svc',
    `kubernetes.default.svc.${lab.clusterDomain}`,
    'localhost',
  ];
  return {
    cn: 'kube-apiserver',
    ips: ['127.0.0.1', '::1', ...lab.hostIPs, ...services],
    dnsNames: names,
    usages: ['server'],
  };
}
