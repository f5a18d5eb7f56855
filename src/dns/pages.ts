/** The pages that probes and scrapers ask for, as the blocks want them (D96, D102). */
import type { Server } from 'node:http';

import { formatHostPort } from '../lib/ip.ts';
import type { Block } from './blocks.ts';
import type { HostPort } from './config/types.ts';
import type { DnsCounters } from './counters.ts';
import { servePages, type HttpPage, type Page, type Probed } from './health.ts';

export type PageSources = {
  readonly counters: DnsCounters;
  readonly handsOver: boolean;
  /** The names of the stages that are not ready; undefined while the server stops. */
  readonly notReady: () => readonly string[] | undefined;
  /** The page that explains answers of these blocks. */
  readonly explain: (blocks: readonly Block[]) => HttpPage['page'];
};

/** `pages` are what the listener answers from now on. */
type OpenListener = { readonly server: Server; readonly pages: HttpPage[] };

export class Pages {
  readonly #sources: PageSources;
  readonly #open = new Map<string, OpenListener>();

  constructor(sources: PageSources) {
    this.#sources = sources;
  }

  /**
   * One listener per address, however many blocks ask for it; those that are open stay so. When one
   * cannot be opened, all goes on as it was.
   */
  async turnTo(blocks: readonly Block[]): Promise<void> {
    const wanted = Map.groupBy(pagesOf(blocks, this.#sources), ({ host, port }) =>
      formatHostPort(host, port),
    );
    const fresh = await this.#openMissing(wanted);
    for (const [at, pages] of wanted) this.#open.get(at)?.pages.splice(0, Infinity, ...pages);
    for (const at of [...this.#open.keys()].filter((known) => !wanted.has(known))) this.#close(at);
    for (const [at, listener] of fresh) this.#open.set(at, listener);
  }

  async #openMissing(wanted: ReadonlyMap<string, HttpPage[]>) {
    const fresh: [at: string, listener: OpenListener][] = [];
    try {
      for (const [at, pages] of wanted) {
        if (this.#open.has(at)) continue;
        fresh.push([at, { server: await servePages(pages, this.#sources), pages }]);
      }
      return fresh;
    } catch (error) {
      for (const [, { server }] of fresh) closeNow(server);
      throw error;
    }
  }

  close(): void {
    for (const at of this.#open.keys()) this.#close(at);
  }

  #close(at: string): void {
    const { server } = this.#open.get(at)!;
    this.#open.delete(at);
    closeNow(server);
  }
}

function closeNow(server: Server): void {
  server.close();
  server.closeAllConnections();
}

/** One page per address and path. */
function pagesOf(blocks: readonly Block[], sources: PageSources): readonly HttpPage[] {
  const pages = new Map<string, HttpPage>();
  const add = (at: HostPort, path: string, page: HttpPage['page'], more: Partial<HttpPage> = {}) =>
    pages.set(`${at.host} ${at.port} ${path}`, { ...at, path, page, ...more });
  for (const { settings } of blocks) {
    const { health, ready, prometheus } = settings.plugins;
    const explained = prometheus ?? health;
    if (explained !== undefined) add(explained.at, '/explain', sources.explain(blocks));
    if (health !== undefined) {
      const probed: Probed = (ms, isAnswered) => sources.counters.probed(ms, isAnswered);
      add(health.at, '/health', () => ({ code: 200, body: 'OK' }), { probed });
    }
    if (ready !== undefined) add(ready.at, '/ready', () => readyPage(sources));
    if (prometheus !== undefined) {
      add(prometheus.at, '/metrics', async () => {
        // The metrics library costs memory and start-up time: only a server that is scraped pays.
        const { metricsPage } = await import('./metrics.ts');
        return metricsPage({ counters: sources.counters, blocks });
      });
    }
  }
  return [...pages.values()];
}

/** What was ready once stays so: watches that break are taken up again, and what is known is served. */
function readyPage({ notReady }: PageSources): Page {
  const missing = notReady();
  if (missing === undefined) return { code: 503, body: 'stopping' };
  return missing.length === 0 ? { code: 200, body: 'OK' } : { code: 503, body: missing.join(',') };
}
