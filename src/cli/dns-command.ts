/** What `fairlead dns --help` says. The server itself reads its flags: it starts without this parser. */
import type { Command } from 'commander';

/** Describes the command; the action is for a program that came here all the same. */
export function defineDns(command: Command): void {
  command
    .description('Answer DNS for a cluster, in CoreDNS’s place')
    .option('--config <file>', 'a Corefile; instead of the flags below')
    .option('--check', 'only print what the Corefile or the flags come to')
    .option('--kubeconfig <file>', 'which cluster (default: that of the pod it runs in)')
    .option('--port <port>', 'of zones that name none (default: 53)')
    .option('--workers <count>', 'threads that answer over UDP (default: none but the main one)')
    .option('--domain <domain>', 'the cluster domain (default: cluster.local)')
    .option('--host <address>', 'where to listen (default: all addresses)')
    .option('--upstream <server>', 'for all other names, again for more (default: resolv.conf)')
    .option('--no-upstream', 'refuse all other names')
    .option('--stub-domain <domain=servers>', 'a domain with servers of its own, again for more')
    .option('--config-dir <folder>', 'kube-dns’s ConfigMap: stubDomains, upstreamNameservers')
    .option('--node-local', 'a cache for the pods of one node, before the cluster’s server')
    .option('--cluster-dns <server>', 'which server that is, again for more')
    .option('--ttl <seconds>', 'of the cluster’s records (default: 30)')
    .option('--pods <mode>', 'names of pod addresses: disabled, insecure, verified')
    .option('--lame-duck <seconds>', 'answer so long after SIGTERM (default: 5)')
    .option('--strict-coredns', 'copy CoreDNS where it breaks a standard as well')
    .option('--health-port <port>', '/health (default: 8080; 0: none)')
    .option('--ready-port <port>', '/ready (default: 8181; 0: none)')
    .option('--metrics-port <port>', '/metrics and /explain (default: 9153; 0: none)')
    .addHelpText(
      'after',
      `
Examples:
  fairlead dns --check --config Corefile            is it right, and what does it come to
  fairlead dns --kubeconfig F --config Corefile     in CoreDNS's place, from any machine
  fairlead dns -conf /etc/coredns/Corefile          as CoreDNS's own manifests call it`,
    )
    .action(async () => (await import('./dns.ts')).run(process.argv.slice(3)));
}
