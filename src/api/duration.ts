/** Ages as kubectl prints them (A121; apimachinery/pkg/util/duration HumanDuration). */

const minute = 60;
const hour = 60 * minute;
const day = 24 * hour;
const year = 365 * day;

/** `45s`, `5m3s`, `2d`; a time more than a second in the future is `<invalid>`. */
export function humanDuration(ms: number): string {
  const seconds = Math.trunc(ms / 1000);
  if (seconds < -1) return '<invalid>';
  if (seconds < 0) return '0s';
  if (seconds < 2 * minute) return `${seconds}s`;
  if (seconds < 10 * minute) return parts(seconds, [minute, 'm'], [1, 's']);
  if (seconds < 3 * hour) return parts(seconds, [minute, 'm']);
  if (seconds < 8 * hour) return parts(seconds, [hour, 'h'], [minute, 'm']);
  if (seconds < 2 * day) return parts(seconds, [hour, 'h']);
  if (seconds < 8 * day) return parts(seconds, [day, 'd'], [hour, 'h']);
  if (seconds < 2 * year) return parts(seconds, [day, 'd']);
  if (seconds < 8 * year) return parts(seconds, [year, 'y'], [day, 'd']);
  return parts(seconds, [year, 'y']);
}

type Unit = readonly [seconds: number, letter: string];

/** The amount in the big unit and, when it is not zero, the rest in the small one. */
function parts(seconds: number, big: Unit, small?: Unit): string {
  const text = `${Math.floor(seconds / big[0])}${big[1]}`;
  if (small === undefined) return text;
  const rest = Math.floor((seconds % big[0]) / small[0]);
  return rest === 0 ? text : `${text}${rest}${small[1]}`;
}

/** The age of a timestamp; an absent one is `<unknown>`. */
export function ageOf(timestamp: string | null | undefined, now: number): string {
  if (timestamp === undefined || timestamp === null) return '<unknown>';
  return humanDuration(now - Date.parse(timestamp));
}
