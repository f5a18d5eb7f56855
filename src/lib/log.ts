/** One logger for every component: JSON lines on standard error, read back by `fairlead logs`. */
import { pino, type Logger } from 'pino';

export type { Logger };

/** `component` names the process part that speaks, such as `apiserver` or `proxy`. */
export function createLogger(
  component: string,
  level = process.env.FAIRLEAD_LOG ?? 'info',
): Logger {
  return pino(
    {
      level,
      base: { component },
      timestamp: pino.stdTimeFunctions.isoTime,
      formatters: { level: (label) => ({ level: label }) },
    },
    pino.destination({ dest: 2, sync: true }),
  );
}
