/** How one field of a configuration is read from a file or a flag, with what may be wrong about it. */
import { canonicalIp, parseCidr } from '../../lib/ip.ts';

/** One field: what it is when nobody sets it, and how a value is read. */
export type Field<T> = {
  readonly initial: T;
  /** The value, or what it must be; `found` is what YAML or a flag holds. */
  readonly read: (found: unknown) => { readonly value: T } | { readonly must: string };
  /** For flags: a boolean needs no value. */
  readonly isBoolean?: true;
  /** Part of kube-proxy's configuration, without effect here. */
  readonly unused?: true;
  /** In a file, where Go writes every field, zero stands for the default. */
  readonly zeroIsDefault?: true;
};

/** Any text. */
export function text(initial: string): Field<string> {
  return {
    initial,
    read: (found) => (typeof found === 'string' ? { value: found } : { must: 'be a text' }),
  };
}

/** One of several words; the empty text counts as the first where it is allowed. */
export function word<T extends string>(initial: T, words: readonly T[]): Field<T> {
  return {
    initial,
    read(found) {
      const value = found === '' ? initial : words.find((one) => one === found);
      return value === undefined ? { must: `be one of ${words.join(', ')}` } : { value };
    },
  };
}

/** A field that so far has one value. */
export function onlyWord<T extends string>(initial: T, must: string): Field<T> {
  return {
    initial,
    read: (found) => (found === '' || found === initial ? { value: initial } : { must }),
  };
}

export function yesOrNo(initial: boolean): Field<boolean> {
  return {
    initial,
    isBoolean: true,
    read(found) {
      if (typeof found === 'boolean') return { value: found };
      if (found === 'true' || found === 'false') return { value: found === 'true' };
      return { must: 'be true or false' };
    },
  };
}

/** A whole number; `max` may be missing. */
export function whole(initial: number, range: { min: number; max?: number }): Field<number> {
  const { min, max = Infinity } = range;
  const must =
    max === Infinity
      ? `be a whole number of at least ${min}`
      : `be a whole number from ${min} to ${max}`;
  return {
    initial,
    read(found) {
      const value = typeof found === 'string' && found.trim() !== '' ? Number(found) : found;
      const good = Number.isInteger(value) && (value as number) >= min && (value as number) <= max;
      return good ? { value: value as number } : { must };
    },
  };
}

export function anyNumber(initial: number): Field<number> {
  return {
    initial,
    read(found) {
      const value = typeof found === 'string' && found.trim() !== '' ? Number(found) : found;
      return typeof value === 'number' && value >= 0 ? { value } : { must: 'be a number' };
    },
  };
}

/** Milliseconds, written as Go writes a duration: `1h0m0s`, `500ms`; a plain 0 is 0. */
export function duration(initial: number, { min = 0 }: { min?: number } = {}): Field<number> {
  const must = min > 0 ? 'be a time above 0, such as 30s' : 'be a time such as 30s or 1h30m';
  return {
    initial,
    read(found) {
      const value = found === 0 ? 0 : parseDuration(String(found));
      return value === undefined || value < min ? { must } : { value };
    },
  };
}

/** The field, with zero in a file standing for its default. */
export function zeroIsDefault<T>(field: Field<T>): Field<T> {
  return { ...field, zeroIsDefault: true };
}

/** Texts, each of which `must` may refuse; a flag holds them separated by commas. */
export function texts(
  initial: readonly string[],
  check: (values: readonly string[]) => string | undefined = () => undefined,
): Field<readonly string[]> {
  return {
    initial,
    read(found) {
      const values = listOf(found);
      if (values === undefined) return { must: 'be a list of texts' };
      const must = check(values);
      return must === undefined ? { value: values } : { must };
    },
  };
}

/** Prefixes of pods: none, one, or one of each family, in one text separated by a comma. */
export function cidrPair(): Field<readonly string[]> {
  return texts([], (values) => {
    const families = values.map((value) => parseCidr(value)?.family);
    if (families.includes(undefined)) return 'hold prefixes such as 10.244.0.0/16';
    if (values.length > new Set(families).size) return 'hold at most one prefix of each IP family';
    return undefined;
  });
}

/** An address, canonical. */
export function address(initial: string): Field<string> {
  return {
    initial,
    read(found) {
      if (found === '') return { value: initial };
      const value = typeof found === 'string' ? canonicalIp(found) : undefined;
      return value === undefined ? { must: 'be an IP address' } : { value };
    },
  };
}

export type HostPort = { readonly host: string; readonly port: number };

/** `10.0.0.1:80`, `[::]:80`, or an address alone, which gets the usual port. */
export function hostPort(usualPort: number): Field<HostPort | 'default' | 'off'> {
  return {
    initial: 'default',
    read(found) {
      if (found === '') return { value: 'default' };
      const value = typeof found === 'string' ? parseHostPort(found, usualPort) : undefined;
      return value === undefined ? { must: 'be an address and a port: 0.0.0.0:10256' } : { value };
    },
  };
}

/** Anything: of use to kube-proxy only. */
export function unused(initial: unknown): Field<unknown> {
  return { initial, unused: true, read: (value) => ({ value }) };
}

export function parseHostPort(found: string, usualPort: number): HostPort | undefined {
  const alone = canonicalIp(found.replace(/^\[(.*)\]$/, '$1'));
  if (alone !== undefined) return { host: alone, port: usualPort };
  const parts = /^(?:\[([0-9a-f:.]+)\]|([0-9.]+)):(\d+)$/i.exec(found);
  const host = canonicalIp(parts?.[1] ?? parts?.[2] ?? '');
  const port = Number(parts?.[3]);
  return host !== undefined && port >= 1 && port <= 65_535 ? { host, port } : undefined;
}

const UNITS_MS: Readonly<Record<string, number>> = {
  ns: 1e-6,
  us: 1e-3,
  µs: 1e-3,
  ms: 1,
  s: 1000,
  m: 60_000,
  h: 3_600_000,
};

/** Milliseconds of a Go duration (time.ParseDuration); undefined for anything else. */
export function parseDuration(found: string): number | undefined {
  const [, sign = '', body = ''] = /^([+-]?)(.*)$/s.exec(found) ?? [];
  if (body === '0') return 0;
  const parts = [...body.matchAll(/(\d+\.?\d*|\.\d+)(ns|us|µs|ms|s|m|h)/gy)];
  if (parts.length === 0 || parts.map(([all]) => all).join('') !== body) return undefined;
  const sum = parts.reduce((ms, [, count, unit]) => ms + Number(count) * UNITS_MS[unit!]!, 0);
  return sign === '-' ? -sum : sum;
}

/** As Go prints a duration of whole milliseconds: `24h0m0s`, `1.5s`, `500ms`. */
export function formatDuration(ms: number): string {
  if (ms === 0) return '0s';
  if (ms < 1000) return `${ms}ms`;
  const [hours, minutes] = [Math.floor(ms / 3_600_000), Math.floor(ms / 60_000) % 60];
  const seconds = `${(ms % 60_000) / 1000}s`;
  if (hours > 0) return `${hours}h${minutes}m${seconds}`;
  return minutes > 0 ? `${minutes}m${seconds}` : seconds;
}

function listOf(found: unknown): string[] | undefined {
  if (found === '' || found === null) return [];
  if (typeof found === 'string') return found.split(',').map((entry) => entry.trim());
  if (!Array.isArray(found)) return undefined;
  return found.every((entry) => typeof entry === 'string') ? found : undefined;
}
