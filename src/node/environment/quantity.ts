/** Amounts as Kubernetes writes them: `500m`, `128Mi`, `1e3` (apimachinery api/resource). */
import { UserError } from '../../lib/errors.ts';

const binary = ['Ki', 'Mi', 'Gi', 'Ti', 'Pi', 'Ei'];
const decimal: Readonly<Record<string, number>> = {
  n: 1e-9,
  u: 1e-6,
  m: 1e-3,
  '': 1,
  k: 1e3,
  M: 1e6,
  G: 1e9,
  T: 1e12,
  P: 1e15,
  E: 1e18,
};

/** The amount as a number; exact to 53 bits, which is more than any node has of anything. */
export function parseQuantity(text: string): number {
  const match = /^([+-]?\d+\.?\d*|[+-]?\.\d+)([eE][+-]?\d+|[KMGTPE]i|[numkMGTPE]?)$/.exec(text);
  if (match === null) {
    throw new UserError(
      'QUANTITY',
      `Cannot read quantity "${text}": it is no amount like 500m or 1Gi`,
    );
  }
  const [, digits = '', suffix = ''] = match;
  if (/^[eE].?\d/.test(suffix)) return Number(digits + suffix);
  const power = binary.indexOf(suffix);
  return Number(digits) * (power >= 0 ? 1024 ** (power + 1) : (decimal[suffix] ?? 1));
}

/** How many times the divisor goes into the amount, rounded up. */
export function divideQuantity(amount: string, divisor: string): number {
  const by = divisor === '0' ? 1 : parseQuantity(divisor);
  // Nine digits are what the smallest suffix can tell; more is binary rounding.
  return Math.ceil(Number((parseQuantity(amount) / by).toFixed(9)));
}
