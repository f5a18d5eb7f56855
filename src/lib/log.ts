/**
 * One logger for every component: JSON lines on standard error, read back by `fairlead logs`. A library
 * takes 9 ms of processor time to load and set up, in each of seven processes, of which most write nothing
 * while a cluster comes up.
 */
import { writeSync } from 'node:fs';
import { textDestination } from './log-text.ts';

const levels = { debug: 20, info: 30, warn: 40, error: 50, fatal: 60, silent: 100 } as const;
type Level = Exclude<keyof typeof levels, 'silent'>;

type Write = {
  (facts: object, message: string): void;
  (message: string): void;
};

export type Logger = {
  /** The least that is written; it may be changed while the program runs. */
  level: string;
} & { readonly [level in Level]: Write };

export type LogFormat = 'json' | 'text';

/** `component` names the process part that speaks, such as `apiserver` or `proxy`. An unknown level means `info`. */
export function createLogger(
  component: string,
  level = process.env.FAIRLEAD_LOG ?? 'info',
  format: LogFormat = 'json',
  write: (line: string) => void = format === 'text' ? textDestination().write : writeToStderr,
): Logger {
  const at = (name: Level): Write => {
    return (first: object | string, message?: string) => {
      if (levels[name] < (levels[log.level as Level] ?? levels.info)) return;
      const facts = typeof first === 'string' ? {} : first;
      const msg = typeof first === 'string' ? first : message;
      write(lineOf({ level: name, time: new Date().toISOString(), component, ...facts, msg }));
    };
  };
  const log: Logger = {
    level,
    debug: at('debug'),
    info: at('info'),
    warn: at('warn'),
    error: at('error'),
    fatal: at('fatal'),
  };
  return log;
}

/** What JSON cannot say must not keep the rest from being read. */
function lineOf(entry: Readonly<Record<string, unknown>>): string {
  try {
    return `${JSON.stringify(entry, plain)}\n`;
  } catch (error) {
    return `${JSON.stringify({ ...entry, facts: String(error) }, onlyText)}\n`;
  }
}

function plain(_key: string, value: unknown): unknown {
  if (value instanceof Error) return { message: value.message, stack: value.stack };
  return typeof value === 'bigint' ? String(value) : value;
}

function onlyText(key: string, value: unknown): unknown {
  return key === '' || typeof value === 'string' ? value : undefined;
}

/** A pipe may be full for a moment. A line that cannot be written is lost: logging breaks nothing. */
function writeToStderr(line: string): void {
  for (let tries = 0; tries < writeTriesMax; tries += 1) {
    try {
      writeSync(2, line);
      return;
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code !== 'EAGAIN') return;
      Atomics.wait(pause, 0, 0, writePauseMs);
    }
  }
}

const writeTriesMax = 100;
const writePauseMs = 10;
const pause = new Int32Array(new SharedArrayBuffer(4));
