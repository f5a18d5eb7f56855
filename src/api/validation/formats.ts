/**
 * The syntax of names, labels, ports and addresses. Each check returns what is wrong, in the words of
 * apimachinery/pkg/util/validation, and nothing when all is well.
 */
import { canonicalIp, familyOf, parseCidr } from '../../lib/ip.ts';

type Check = (value: string) => string[];

const label = '[a-z0-9]([-a-z0-9]*[a-z0-9])?';
const subdomain = `${label}(\\.${label})*`;
const label1035 = '[a-z]([-a-z0-9]*[a-z0-9])?';
const qualified = '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]';
const labelText = `(${qualified})?`;
const configKeyPattern = '[-._a-zA-Z0-9]+';

function matcher(pattern: string): RegExp {
  return new RegExp(`^${pattern}$`);
}

const patterns = {
  label: matcher(label),
  subdomain: matcher(subdomain),
  label1035: matcher(label1035),
  qualified: matcher(qualified),
  labelText: matcher(labelText),
  configKey: matcher(configKeyPattern),
};

/** Kubernetes writes examples of what would pass, and the pattern, into the message. */
function rule(text: string, pattern: string, ...examples: string[]): string {
  const list = examples.map((example) => `'${example}'`).join(',  or ');
  return `${text} (e.g. ${list}, regex used for validation is '${pattern}')`;
}

const messages = {
  label: rule(
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', " +
      'and must start and end with an alphanumeric character',
    label,
    'my-name',
    '123-abc',
  ),
  subdomain: rule(
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' " +
      "or '.', and must start and end with an alphanumeric character",
    subdomain,
    'example.com',
  ),
  label1035: rule(
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an " +
      'alphabetic character, and end with an alphanumeric character',
    label1035,
    'my-name',
    'abc-123',
  ),
  qualified: rule(
    "must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an " +
      'alphanumeric character',
    qualified,
    'MyName',
    'my.name',
    '123-abc',
  ),
  labelText: rule(
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or " +
      "'.', and must start and end with an alphanumeric character",
    labelText,
    'MyValue',
    'my_value',
    '12345',
  ),
  configKey: rule(
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.'",
    configKeyPattern,
    'key.name',
    'KEY_NAME',
    'key-name',
  ),
};

function tooLong(value: string, max: number): string[] {
  return Buffer.byteLength(value) > max ? [`must be no more than ${max} bytes`] : [];
}

function check(value: string, max: number, pattern: keyof typeof patterns): string[] {
  const wrong = patterns[pattern].test(value) ? [] : [messages[pattern]];
  return [...tooLong(value, max), ...wrong];
}

/** RFC 1123 label. */
export const dnsLabel: Check = (value) => check(value, 63, 'label');

/** RFC 1123 subdomain. */
export const dnsSubdomain: Check = (value) => check(value, 253, 'subdomain');

/** RFC 1035 label: starts with a letter. */
export const dns1035Label: Check = (value) => check(value, 63, 'label1035');

/** The value of a label. */
export const labelValue: Check = (value) => check(value, 63, 'labelText');

/** `name` or `prefix.example/name`: label keys, condition types, application protocols. */
export const qualifiedName: Check = (value) => {
  const parts = value.split('/');
  if (parts.length > 2) {
    return [
      `a qualified name ${messages.qualified} with an optional DNS subdomain prefix and '/' ` +
        "(e.g. 'example.com/MyName')",
    ];
  }
  const name = parts.at(-1)!;
  const wrong: string[] = [];
  if (parts.length === 2) {
    if (parts[0] === '') wrong.push('prefix part must be non-empty');
    else wrong.push(...dnsSubdomain(parts[0]!).map((message) => `prefix part ${message}`));
  }
  if (name === '') wrong.push('name part must be non-empty');
  else wrong.push(...tooLong(name, 63).map((message) => `name part ${message}`));
  if (!patterns.qualified.test(name)) wrong.push(`name part ${messages.qualified}`);
  return wrong;
};

/** IANA service name, as ports are named. */
export const portName: Check = (value) => {
  const wrong = tooLong(value, 15);
  if (!/^[-a-z0-9]+$/.test(value)) {
    wrong.push('must contain only alpha-numeric characters (a-z, 0-9), and hyphens (-)');
  }
  if (!/[a-z]/.test(value)) wrong.push('must contain at least one letter (a-z)');
  if (value.includes('--')) wrong.push('must not contain consecutive hyphens');
  if (/^-|-$/.test(value)) wrong.push('must not begin or end with a hyphen');
  return wrong;
};

export function portNumber(value: number): string[] {
  return value >= 1 && value <= 65_535 ? [] : ['must be between 1 and 65535, inclusive'];
}

export const ipAddress: Check = (value) =>
  isIp(value) ? [] : ['must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)'];

export function isIp(value: string): boolean {
  return familyOf(value) !== undefined;
}

export const cidr: Check = (value) =>
  parseCidr(value) === undefined
    ? ['must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)']
    : [];

/** The key of a ConfigMap or Secret. */
export const configKey: Check = (value) => {
  const wrong = check(value, 253, 'configKey');
  if (value === '.') wrong.push("must not be '.'");
  else if (value === '..') wrong.push("must not be '..'");
  else if (value.startsWith('..')) wrong.push("must not start with '..'");
  return wrong;
};

/** The relaxed rule of Kubernetes 1.30 and later. */
export const envName: Check = (value) => {
  if (value.length === 0) return ['environment variable name must be non-empty'];
  return /^[ -<>-~]+$/.test(value)
    ? []
    : [
        'a valid environment variable name must consist only of printable ASCII characters ' +
          "other than '='",
      ];
};

/** An address that may stand behind a Service: no loopback, link-local, multicast or zero (A132). */
export const endpointIp: Check = (value) => {
  const wrong = ipAddress(value);
  return wrong.length > 0 ? wrong : specialRange(value, 'may not be');
};

/** Why the address cannot be reached from elsewhere, if so. */
export function specialRange(value: string, verb: string): string[] {
  const ip = canonicalIp(value) ?? value;
  const v4 = ip.startsWith('::ffff:') ? ip.slice(7) : ip;
  const wrong: string[] = [];
  if (v4 === '0.0.0.0' || ip === '::') wrong.push(`${verb} unspecified (${value})`);
  if (v4.startsWith('127.') || ip === '::1') {
    wrong.push(`${verb} in the loopback range (127.0.0.0/8, ::1/128)`);
  }
  if (v4.startsWith('169.254.') || /^fe[89ab]/.test(ip)) {
    wrong.push(`${verb} in the link-local range (169.254.0.0/16, fe80::/10)`);
  }
  if (v4.startsWith('224.0.0.') || ip.startsWith('ff02:')) {
    wrong.push(`${verb} in the link-local multicast range (224.0.0.0/24, ff02::/10)`);
  }
  return wrong;
}
