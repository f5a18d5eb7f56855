/** Rows of the metrics page, in the text format of Prometheus. */
import { Counter, Gauge, Registry } from 'prom-client';

import type { Spread } from './counters.ts';

export type Labels = Readonly<Record<string, string>>;

export type Row = readonly [labels: Labels, value: number];

type HistogramRow = readonly [labels: Labels, value: Spread];

/** Adds a metric with these rows, or none where there are no rows. */
export type Add<T = Row> = (name: string, help: string, rows: readonly T[]) => void;

/** A page in the making. */
export type Rows = {
  readonly count: Add;
  readonly show: Add;
  readonly spread: Add<HistogramRow>;
  readonly text: () => Promise<{ readonly body: string; readonly type: string }>;
};

/** An empty page. */
export function newRows(): Rows {
  const registers = [new Registry()];
  const make = (name: string, help: string, rows: readonly Row[]) => {
    return { name, help, labelNames: Object.keys(rows[0]?.[0] ?? {}), registers };
  };
  const histograms: string[] = [];
  return {
    count: (name, help, rows) => {
      if (rows.length === 0) return;
      const metric = new Counter(make(name, help, rows));
      for (const [labels, value] of rows) metric.inc(labels, value);
    },
    show: (name, help, rows) => {
      if (rows.length === 0) return;
      const metric = new Gauge(make(name, help, rows));
      for (const [labels, value] of rows) metric.set(labels, value);
    },
    spread: (name, help, rows) => {
      if (rows.length === 0) return;
      const head = `# HELP ${name} ${help}\n# TYPE ${name} histogram\n`;
      histograms.push(head, ...rows.map((row) => histogramText(name, row)));
    },
    text: async () => {
      const text = await registers[0]!.metrics();
      return { body: text + histograms.join(''), type: registers[0]!.contentType };
    },
  };
}

/** The library has no histogram of counts made elsewhere. */
function histogramText(name: string, [labels, { counts, bounds, sum }]: HistogramRow): string {
  const given = Object.entries(labels).map(([key, value]) => `${key}="${value}"`);
  const all = (more: readonly string[]) => {
    const texts = [...given, ...more];
    return texts.length === 0 ? '' : `{${texts.join(',')}}`;
  };
  const lines: string[] = [];
  let total = 0;
  counts.forEach((counted, index) => {
    total += counted;
    lines.push(`${name}_bucket${all([`le="${bounds[index] ?? '+Inf'}"`])} ${total}`);
  });
  lines.push(`${name}_sum${all([])} ${sum}`, `${name}_count${all([])} ${total}`, '');
  return lines.join('\n');
}
