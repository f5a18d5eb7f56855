/** Every directive and its reader. */
import { parseName } from '../../wire/name.ts';
import { argumentsOf, onlyOne } from '../arguments.ts';
import type { PluginSettings } from '../types.ts';
import { readBind } from './bind.ts';
import { readCache } from './cache.ts';
import type { DirectiveReader } from './directive.ts';
import { readForward } from './forward.ts';
import { readKubernetes } from './kubernetes.ts';
import {
  readAcl,
  readAutopath,
  readBufsize,
  readChaos,
  readErrors,
  readHosts,
  readLoadbalance,
  readLog,
  readMultisocket,
  readReload,
  readTemplate,
  readTls,
  readTransfer,
} from './others.ts';
import { readRewrite } from './rewrite.ts';
import { readHealth, readPrometheus, readReady } from './pages.ts';

type Readers = {
  readonly [name in keyof PluginSettings]-?: DirectiveReader<NonNullable<PluginSettings[name]>>;
};

export const readers: Readers = {
  acl: readAcl,
  autopath: readAutopath,
  bind: readBind,
  bufsize: readBufsize,
  cache: readCache,
  chaos: readChaos,
  errors: readErrors,
  forward: readForward,
  health: readHealth,
  hosts: readHosts,
  kubernetes: readKubernetes,
  loadbalance: readLoadbalance,
  log: readLog,
  loop: (lines, { zones }) => {
    argumentsOf(onlyOne(lines), { max: 0 });
    return { zone: zones[0] ?? parseName('.')! };
  },
  multisocket: readMultisocket,
  prometheus: readPrometheus,
  ready: readReady,
  reload: readReload,
  rewrite: readRewrite,
  template: readTemplate,
  tls: readTls,
  transfer: readTransfer,
  whoami: (lines) => {
    argumentsOf(onlyOne(lines), { max: 0 });
    return {};
  },
};

/** Directives of CoreDNS that mean nothing here. */
export const harmless: readonly string[] = ['cancel', 'debug', 'metadata', 'pprof'];

/** Directives of CoreDNS that we do not have. */
export const missing: readonly string[] = (
  'any auto azure clouddns dns64 dnssec dnstap erratic etcd file geoip grpc grpc_server header https ' +
  'https3 k8s_external local minimal nomad nsid on proxyproto quic root route53 secondary shed sign ' +
  'timeouts trace tsig view'
).split(' ');
