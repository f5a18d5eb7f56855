/** `health`, `ready` and `prometheus`: pages over HTTP. */
import {
  argumentOf,
  argumentsOf,
  durationOf,
  flagOf,
  hostPortOf,
  oneOf,
  readProperties,
} from '../arguments.ts';
import type { Line } from '../parse.ts';
import type { HealthSettings, PageSettings, ReadySettings } from '../types.ts';
import type { Context } from './directive.ts';

export function readHealth(lines: readonly Line[], context: Context): HealthSettings {
  let lameDuckMs = 0;
  for (const line of lines) {
    readProperties(line, { lameduck: (inner) => (lameDuckMs = durationOf(argumentOf(inner))) });
  }
  return { at: addressOf(lines, ':8080', context), lameDuckMs };
}

export function readReady(lines: readonly Line[], context: Context): ReadySettings {
  let monitor: ReadySettings['monitor'] = 'until-ready';
  for (const line of lines) {
    readProperties(line, {
      monitor: (inner) => (monitor = oneOf(argumentOf(inner), ['until-ready', 'continuously'])),
    });
  }
  return { at: addressOf(lines, ':8181', context), monitor };
}

export function readPrometheus(lines: readonly Line[], context: Context): PageSettings {
  for (const line of lines) {
    readProperties(line, {
      runtime_metrics: (inner) => {
        flagOf(inner);
        context.warn('"runtime_metrics" are those of Go, they have no effect here');
      },
    });
  }
  return { at: addressOf(lines, 'localhost:9153', context) };
}

function addressOf(lines: readonly Line[], usual: string, { anyHost }: Context) {
  const given = lines.flatMap((line) => argumentsOf(line, { max: 1 }));
  const token = given.at(-1) ?? { ...lines[0]!.words[0]!, text: usual };
  return hostPortOf(token, anyHost);
}
