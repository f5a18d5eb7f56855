/** One logger for every component: JSON lines on standard error, read back by `fairlead logs`. */
import { pino, type Logger } from 'pino';
import { textDestination } from './log-text.ts';

export type { Logger };

export type LogFormat = 'json' | 'text';

/** `component` names the process part that speaks, such as `apiserver` or `proxy`. */
export function createLogger(
  component: string,
  level = process.env.FAIRLEAD_LOG ?? 'info',
  format: LogFormat = 'json',
): Logger {
  return pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    format === 'text' ? textDestination() : pino.destination({ dest: 2, sync: true }),
  );
}
