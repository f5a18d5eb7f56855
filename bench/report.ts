/** What every benchmark prints: a table with goals, the machine's noise, or JSON. */

export type Figure = {
  readonly name: string;
  readonly value: number;
  readonly unit: string;
  /** As a person reads it, such as `<= 1000`. */
  readonly goal?: string;
};

export function report(bench: string, figures: readonly Figure[], json: boolean): void {
  const all = [...figures, noiseFigure()];
  if (json) {
    console.log(JSON.stringify({ bench, figures: all }));
    return;
  }
  const rows = all.map((figure) => [
    figure.name,
    formatValue(figure.value),
    figure.unit,
    figure.goal ?? '',
    verdict(figure),
  ]);
  const head = ['figure', 'value', 'unit', 'goal', ''];
  const widths = head.map((title, column) =>
    Math.max(title.length, ...rows.map((row) => row[column]!.length)),
  );
  for (const row of [head, ...rows]) {
    console.log(
      row
        .map((cell, column) =>
          column === 1 ? cell.padStart(widths[column]!) : cell.padEnd(widths[column]!),
        )
        .join('  ')
        .trimEnd(),
    );
  }
}

function formatValue(value: number): string {
  return Math.abs(value) >= 100 ? value.toFixed(0) : value.toFixed(2);
}

function verdict({ value, goal }: Figure): string {
  const match = /^(<=|>=|<|>|=)\s*([\d.]+)/.exec(goal ?? '');
  if (match === null) return '';
  const bound = Number(match[2]);
  const met = {
    '<=': value <= bound,
    '>=': value >= bound,
    '<': value < bound,
    '>': value > bound,
    '=': value === bound,
  }[match[1]!];
  return met ? 'met' : 'MISSED';
}

/** The same small piece of work, timed again and again: how far this machine's timings can be trusted. */
function noiseFigure(): Figure {
  const times = Array.from({ length: 40 }, () => {
    const started = performance.now();
    let sum = 0;
    for (let index = 0; index < 2_000_000; index += 1) sum += index % 7;
    // The sum is used, so that the loop cannot be left out.
    return sum > 0 ? performance.now() - started : 0;
  }).toSorted((a, b) => a - b);
  return {
    name: 'noise of the machine (p90 over median of a fixed loop)',
    value: quantile(times, 0.9) / quantile(times, 0.5),
    unit: 'x',
  };
}

/** The value below which the fraction `q` of the sorted samples lies. */
export function quantile(sorted: readonly number[], q: number): number {
  return sorted[Math.min(sorted.length - 1, Math.floor(q * sorted.length))] ?? Number.NaN;
}
