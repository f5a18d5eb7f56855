/** Health, version and metrics: what anybody may ask (A10-A12). */
import { failure } from '../../api/status.ts';
import { anonymous } from '../auth/authenticate.ts';
import type { ApiContext } from '../context.ts';
import type { Exchange } from './exchange.ts';
import { send, sendText, sendValue } from './respond.ts';

/** The Kubernetes version whose behaviour we follow; clients decide by it what to try. */
export const VERSION = {
  major: '1',
  minor: '33',
  emulationMajor: '1',
  emulationMinor: '33',
  gitVersion: 'v1.33.4+fairlead',
  gitCommit: '0000000000000000000000000000000000000000',
  gitTreeState: 'clean',
  buildDate: '2026-11-22T00:00:00Z',
  goVersion: 'go0.0.0',
  compiler: 'node',
  platform: `linux/${process.arch === 'x64' ? 'amd64' : process.arch}`,
} as const;

const CHECKS = ['ping', 'store', 'poststarthook/bootstrap'];

/** Whether the path was one of ours, and answered. */
export async function handleHealth(context: ApiContext, exchange: Exchange): Promise<boolean> {
  const [first, ...rest] = exchange.segments;
  if (first === 'healthz' || first === 'livez' || first === 'readyz') {
    await sendHealth(exchange, first, rest.join('/'));
    return true;
  }
  if (first === 'version' && rest.length === 0) {
    await sendValue(exchange, VERSION);
    return true;
  }
  if (first !== 'metrics' || rest.length > 0 || exchange.caller === anonymous) return false;
  await sendMetrics(context, exchange);
  return true;
}

/** We answer, so the loop runs and the store is open: that is all there is to check. */
async function sendHealth(exchange: Exchange, path: string, check: string): Promise<void> {
  if (check !== '') {
    if (!CHECKS.includes(check)) throw failure(404, 'NotFound', `no check named "${check}"`, {});
    return sendText(exchange, 200, 'ok');
  }
  const excluded = new Set(exchange.query.getAll('exclude'));
  if (!exchange.query.has('verbose')) return sendText(exchange, 200, 'ok');
  const lines = CHECKS.map((name) =>
    excluded.has(name) ? `[+]${name} excluded: ok` : `[+]${name} ok`,
  );
  return sendText(exchange, 200, `${lines.join('\n')}\n${path} check passed\n`);
}

async function sendMetrics(context: ApiContext, exchange: Exchange): Promise<void> {
  const { registryOf } = await import('../metrics.ts');
  const registry = registryOf(context);
  const bytes = Buffer.from(await registry.metrics());
  return send(exchange, { code: 200, bytes, contentType: registry.contentType });
}
