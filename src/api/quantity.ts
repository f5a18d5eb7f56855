/** Resource quantities in their canonical spelling, as the API server stores them (resource.Quantity). */

/** How Kubernetes words a quantity it cannot read. */
export const quantityPattern = "'^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

const decimalSuffixes = ['n', 'u', 'm', '', 'k', 'M', 'G', 'T', 'P', 'E'];
const binarySuffixes = ['', 'Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const nano = 1_000_000_000n;

type Parsed = { nanos: bigint; form: 'decimal' | 'binary' | 'exponent' };

/** `1000m` is `1`, `0.5Gi` is `512Mi`; undefined when the text is no quantity. */
export function canonicalQuantity(text: string): string | undefined {
  const parsed = parse(text);
  if (parsed === undefined) return undefined;
  const { nanos, form } = parsed;
  if (nanos === 0n) return '0';
  // Below 1024 the binary form would round, so the decimal one is used.
  if (form === 'binary' && abs(nanos) >= 1024n * nano) return binaryText(nanos);
  return decimalText(nanos, form === 'exponent');
}

/** The value in billionths, rounded up as Kubernetes does; undefined when the text is no quantity. */
export function quantityNanos(text: string): bigint | undefined {
  return parse(text)?.nanos;
}

function parse(text: string): Parsed | undefined {
  const match = /^([+-]?)(\d*)(?:\.(\d*))?([numkMGTPE]|[KMGTPE]i|[eE][+-]?\d{1,3})?$/.exec(text);
  const [, sign, whole = '', fraction = '', suffix = ''] = match ?? [];
  if (match === null || whole + fraction === '') return undefined;
  const digits = BigInt(whole + fraction);
  const isNegative = sign === '-';
  const signed = (nanos: bigint) => (isNegative ? -nanos : nanos);
  const binary = suffix.endsWith('i') ? binarySuffixes.indexOf(suffix) : -1;
  if (binary > 0) {
    const nanos = scale(digits * 1024n ** BigInt(binary), 9 - fraction.length);
    return { nanos: signed(nanos), form: 'binary' };
  }
  const isExponent = /^[eE][+-]?\d/.test(suffix);
  const power = isExponent ? Number(suffix.slice(1)) : decimalSuffixes.indexOf(suffix) * 3 - 9;
  const nanos = scale(digits, power + 9 - fraction.length);
  return { nanos: signed(nanos), form: isExponent ? 'exponent' : 'decimal' };
}

/** `value` times ten to the `power`, rounded away from zero. */
function scale(value: bigint, power: number): bigint {
  if (power >= 0) return value * 10n ** BigInt(power);
  const divisor = 10n ** BigInt(-power);
  return (value + divisor - 1n) / divisor;
}

function decimalText(nanos: bigint, isExponent: boolean): string {
  let value = nanos;
  let step = 0;
  while (value % 1000n === 0n && step < decimalSuffixes.length - 1) {
    value /= 1000n;
    step += 1;
  }
  const exponent = step * 3 - 9;
  if (isExponent) return exponent === 0 ? `${value}` : `${value}e${exponent}`;
  return `${value}${decimalSuffixes[step]}`;
}

function binaryText(nanos: bigint): string {
  let value = (abs(nanos) + nano - 1n) / nano;
  let step = 0;
  while (value % 1024n === 0n && step < binarySuffixes.length - 1) {
    value /= 1024n;
    step += 1;
  }
  return `${nanos < 0n ? '-' : ''}${value}${binarySuffixes[step]}`;
}

function abs(value: bigint): bigint {
  return value < 0n ? -value : value;
}
