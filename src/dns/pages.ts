/** The pages that probes and scrapers ask for, as the blocks want them (D96, D102). */
import type { Block } from './blocks.ts';
import type { DnsCounters } from './counters.ts';
import type { HttpPage } from './health.ts';

export type PageSources = {
  readonly counters: DnsCounters;
  readonly isReady: () => boolean;
  readonly explain: HttpPage['page'];
};

/** One page per address and kind, however many blocks ask for it. */
export function pagesOf(
  blocks: readonly Block[],
  { counters, isReady, explain }: PageSources,
): HttpPage[] {
  const pages = new Map<string, HttpPage>();
  const add = (page: HttpPage) => pages.set(`${page.host} ${page.port} ${page.path}`, page);
  for (const { settings } of blocks) {
    const { health, ready, prometheus } = settings.plugins;
    const explained = prometheus ?? health;
    if (explained !== undefined) add({ ...explained.at, path: '/explain', page: explain });
    if (health !== undefined) {
      add({ ...health.at, path: '/health', page: () => ({ code: 200, body: 'OK' }) });
    }
    if (ready !== undefined) {
      const page = () =>
        isReady() ? { code: 200, body: 'OK' } : { code: 503, body: 'kubernetes' };
      add({ ...ready.at, path: '/ready', page });
    }
    if (prometheus !== undefined) {
      const page = async () => {
        // The metrics library costs memory and start-up time: only a server that is scraped pays.
        const { metricsPage } = await import('./metrics.ts');
        return metricsPage({ counters, blocks });
      };
      add({ ...prometheus.at, path: '/metrics', page });
    }
  }
  return [...pages.values()];
}
