/**
 * Records CoreDNS's own metrics after known questions, as text for our tests.
 *
 * Run it in a network of its own, CoreDNS on the PATH or in COREDNS:
 * `unshare -n sh tools/node.sh tools/record/coredns-metrics.ts`
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';

import {
  askAll,
  metricsCorefile,
  metricsGoldenFile,
  metricsPageText,
  metricsPorts,
} from '../../test/kernel/coredns/metrics.ts';
import { startMetricsApi } from '../../test/kernel/coredns/metrics-api.ts';
import { corednsBinary } from '../../test/kernel/coredns/peer.ts';
import { loopbackUp } from '../../test/kernel/dns-harness.ts';

const binary = corednsBinary();
if (binary === undefined) throw new Error('CoreDNS is neither on the PATH nor in COREDNS');
loopbackUp();
const folder = mkdtempSync(join(tmpdir(), 'fairlead-coredns-'));
const { api, files } = await startMetricsApi(folder);
const corefile = join(folder, 'Corefile');
writeFileSync(corefile, metricsCorefile(files));
const child = spawn(binary, ['-conf', corefile], { stdio: 'inherit' });
await sleep(3000);
await askAll(metricsPorts.dns);
const text = (await metricsPageText()).replaceAll(folder, '/folder');
const version = spawnSync(binary, ['-version']).stdout.toString().split('\n')[0];
const head = `# curl localhost:${metricsPorts.metrics}/metrics of ${version} after the questions of test/kernel/coredns/metrics.ts.\n`;
writeFileSync(metricsGoldenFile, head + text);
const exit = new Promise((resolve) => child.once('exit', resolve));
child.kill('SIGKILL');
await exit;
await api.stop();
rmSync(folder, { recursive: true, force: true });
