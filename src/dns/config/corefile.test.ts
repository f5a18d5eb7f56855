import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';

import * as fc from 'fast-check';

import { UserError } from '../../lib/errors.ts';
import { formatName } from '../wire/name.ts';
import { parseCorefile, readCorefile } from './corefile.ts';
import { formatConfiguration } from './print.ts';
import { tokenize } from './tokens.ts';

const warnings: string[] = [];
const options = {
  env: { ZONE: 'env.test', EMPTY: '' },
  warn: (text: string) => void warnings.push(text),
};

function parse(text: string) {
  return parseCorefile(text, 'Corefile', options);
}

function settingsOf(directive: string) {
  return parse(`.:53 {\n${directive}\n}`).blocks[0]!.plugins;
}

const names = (zones: readonly string[]) => zones.map(formatName);

test('words are parted by space, quotes hold them together, comments go', () => {
  const text = 'a "b c"  d#e f\n"x \\" y" # z\r\n"two\nlines" end';
  assert.deepEqual(
    tokenize(text, 'f').map(({ text: word, line }) => [word, line]),
    [
      ['a', 1],
      ['b c', 1],
      ['d', 1],
      ['x " y', 2],
      ['two\nlines', 3],
      ['end', 4],
    ],
  );
});

/** Keys of a block, and the zones and sockets they stand for. */
const keys: [ids: string, key: string, want: string[]][] = [
  ['', '.', ['. dns 53']],
  ['', '.:5353', ['. dns 5353']],
  ['', 'Example.ORG', ['example.org. dns 53']],
  ['', 'dns://example.org:54', ['example.org. dns 54']],
  ['', 'tls://example.org', ['example.org. tls 853']],
  ['', 'https://.', ['. https 443']],
  ['', 'https://.:8443', ['. https 8443']],
  ['', 'a.test, b.test:54', ['a.test. dns 53', 'b.test. dns 54']],
  ['', 'a.test b.test', ['a.test. dns 53', 'b.test. dns 53']],
  ['', '{$ZONE}:53', ['env.test. dns 53']],
  // The ranges and their zones are those of CoreDNS's own test (plugin/pkg/cidr/cidr_test.go).
  ['[D60] ', '10.0.0.0/16', ['0.10.in-addr.arpa. dns 53']],
  ['[D60] ', '10.0.0.0/15', ['0.10.in-addr.arpa. dns 53', '1.10.in-addr.arpa. dns 53']],
  [
    '[D60] ',
    '192.168.1.1/23',
    ['0.168.192.in-addr.arpa. dns 53', '1.168.192.in-addr.arpa. dns 53'],
  ],
  [
    '[D60] ',
    '10.129.60.0/22',
    [60, 61, 62, 63].map((octet) => `${octet}.129.10.in-addr.arpa. dns 53`),
  ],
  [
    '[D60] ',
    '2001:db8::/31',
    ['8.b.d.0.1.0.0.2.ip6.arpa. dns 53', '9.b.d.0.1.0.0.2.ip6.arpa. dns 53'],
  ],
  ['[D60] ', 'fd00:10:96::/112:54', [`${'0.'.repeat(16)}6.9.0.0.0.1.0.0.0.0.d.f.ip6.arpa. dns 54`]],
];

for (const [ids, key, want] of keys) {
  test(`${ids}a block for ${key}`, () => {
    const [block] = parse(`${key} {\n  tls package.json package.json\n}`).blocks;
    const got = block!.sites.map(
      ({ zone, scheme, port }) => `${formatName(zone)} ${scheme} ${port}`,
    );
    assert.deepEqual(got, want);
  });
}

const broken: [text: string, error: RegExp][] = [
  ['', /line 1: it has no server block/],
  ['.:53 {\n  errors\n', /line 1: this "{" is never closed/],
  ['.:53 {\n}\n}', /line 3: this "}" closes nothing/],
  ['{\n errors\n}', /line 1: a block has no zone before its "{"/],
  ['.:53 {\n  forwrd . 1.1.1.1\n}', /line 2: unknown directive "forwrd"/],
  ['.:53 {\n\n  etcd\n}', /line 3: directive "etcd" of CoreDNS is not here/],
  ['.:53 {\n  nsid\n}', /line 2: directive "nsid" of CoreDNS is not here/],
  ['. {\n  rewrite edns0 local set 0xffee 1\n}', /line 2: "edns0" cannot be rewritten/],
  ['. {\n  rewrite name a\n}', /line 2: "rewrite name" takes 2 to 3 arguments, it has 1/],
  ['. {\n  rewrite name regex (a b\n}', /line 2: "\(a" is not a regular expression/],
  ['. {\n  rewrite name regex (a) {2}\n}', /line 2: "\{2\}" uses group 2, the expression has 1/],
  ['. {\n  rewrite ttl a.test 9-3\n}', /line 2: "9-3" is not a range of seconds/],
  ['. {\n  template IN A {\n  answer "{{ range .X }}"\n }\n}', /line 3: .* cannot be filled in/],
  [
    '. {\n  acl {\n  block net 10.0.0.0/33\n }\n}',
    /line 3: "10.0.0.0\/33" is not an address or a range/,
  ],
  ['. {\n  reload 1s\n}', /line 2: "1s" must be at least 2s/],
  ['. {\n  autopath @erratic\n}', /line 2: "@erratic" knows no search lists/],
  ['. {\n  transfer\n}', /line 2: "transfer" needs "to"/],
  ['. {\n  loadbalance weighted\n}', /line 2: "weighted" names no file/],
  ['. {\n  bufsize 100\n}', /line 2: "100" must be a whole number between 512 and 4096/],
  ['. {\n  forward . quic://1.1.1.1\n}', /line 2: "quic:\/\/1.1.1.1" is neither an IP address nor/],
  [
    '. {\n  cache {\n  serve_stale 1h later\n }\n}',
    /line 3: "later" must be one of: immediate, verify/,
  ],
  ['quic://. {\n}', /line 1: "quic:\/\/" is not served/],
  ['.:70000 {\n}', /line 1: 70000 is no port/],
  ['tls://. {\n}', /line 1: a tls:\/\/ zone needs the directive "tls"/],
  ['. {\n  tls a\n}', /line 2: "tls" takes 2 to 3 arguments, it has 1/],
  ['. {\n  tls /nowhere x\n}', /line 2: cannot read "\/nowhere": ENOENT/],
  ['a..b {\n}', /line 1: "a..b" is not a domain name/],
  ['10.0.0.0/33 {\n}', /line 1: "10.0.0.0\/33" is neither a domain name nor an address range/],
  ['. {\n}\n. {\n}', /line 3: a zone of this block is served by the one at line 1/],
  ['. {\n  cache 30\n  cache\n}', /line 3: "cache" stands in this block already, at line 2/],
  ['. {\n  cache 0\n}', /line 2: "0" must be a whole number from 1/],
  ['. {\n  cache {\n    disabel success\n  }\n}', /line 3: unknown property "disabel" of "cache"/],
  [
    '. {\n  cache {\n    disable sucess\n  }\n}',
    /line 3: "sucess" must be one of: success, denial/,
  ],
  ['. {\n  health {\n    lameduck soon\n  }\n}', /line 3: "soon" must be a duration/],
  ['. {\n  health :x\n}', /line 2: ":x" must be an address and a port/],
  ['. {\n  ready {\n    monitor sometimes\n  }\n}', /line 3: "sometimes" must be one of/],
  ['. {\n  loop x\n}', /line 2: "loop" takes no argument, it has 1/],
  ['. {\n  forward .\n}', /line 2: "forward" takes 2 arguments or more, it has 1/],
  ['. {\n  forward . nowhere\n}', /line 2: "nowhere" is neither an IP address nor a file/],
  ['. {\n  forward . /nowhere/x\n}', /line 2: cannot read "\/nowhere\/x": ENOENT/],
  ['. {\n  kubernetes in-addr.arpa\n}', /line 2: "kubernetes" needs a zone that is not a reverse/],
  ['. {\n  kubernetes a.test {\n    pods yes\n  }\n}', /line 3: "yes" must be one of: disabled/],
  ['. {\n  kubernetes a.test {\n    ttl 3601\n  }\n}', /line 3: "3601" must be .* 0 and 3600/],
  [
    '. {\n  kubernetes a.test {\n    namespaces x\n    namespace_labels y=z\n  }\n}',
    /line 2: "namespaces" and "namespace_labels" exclude each other/,
  ],
  ['. {\n  bind nowhere0\n}', /line 2: "nowhere0" is neither an IP address nor an interface/],
  ['. {\n  import nowhere\n}', /line 2: file to import not found: "nowhere"/],
  ['. {\n  import\n}', /line 2: "import" names no file/],
  ['. {\n  import a b\n}', /line 2: "import" takes one argument, it has "b" too/],
  ['(s) {\n errors\n}\n(s) {\n}', /line 4: snippet "s" is there already/],
  ['(s) {\n import s\n}\n. {\n import s\n}', /line \d: more than 1000 imports/],
];

for (const [text, error] of broken) {
  test(`a Corefile ${JSON.stringify(text)} is refused with its line`, () => {
    assert.throws(
      () => parse(text),
      (thrown: UserError) => {
        assert.ok(thrown instanceof UserError);
        assert.match(thrown.message, error);
        assert.match(thrown.message, /^Cannot use Corefile "Corefile": line \d/);
        return thrown.code === 'BAD_COREFILE';
      },
    );
  });
}

test('a mistyped word is answered with the word that was meant', () => {
  const hints = ['forwrd . 1.1.1.1', 'kuberntes', 'chace 30', 'ready {\n moniter x\n }'].map(
    (line) => {
      try {
        parse(`. {\n ${line}\n}`);
      } catch (error) {
        return (error as UserError).hint;
      }
      return undefined;
    },
  );
  assert.deepEqual(hints, [
    'Did you mean "forward"?',
    'Did you mean "kubernetes"?',
    'Did you mean "cache"?',
    'Did you mean "monitor"?',
  ]);
});

test('[D7 D25 D26 D27 D49 D91] kubernetes with every property', () => {
  const { kubernetes } = settingsOf(`kubernetes Cluster.Local 10.96.0.0/12 {
    endpoint_pod_names
    pods verified
    ttl 10
    namespaces a b
    labels app in (x, y)
    noendpoints
    ignore empty_service
    startup_timeout 1m30s
    endpoint https://10.0.0.1:6443
    tls /c /k /a
    fallthrough
  }`);
  assert.deepEqual(names(kubernetes!.zones).slice(0, 2), ['cluster.local.', '96.10.in-addr.arpa.']);
  assert.equal(kubernetes!.zones.length, 17);
  const { zones: _, fallthrough, ...rest } = kubernetes!;
  assert.deepEqual(names(fallthrough), ['.']);
  assert.deepEqual(rest, {
    ttlSeconds: 10,
    podRecords: 'verified',
    strictCoredns: false,
    startupTimeoutMs: 90_000,
    api: {
      endpoint: 'https://10.0.0.1:6443',
      tls: { cert: '/c', key: '/k', ca: '/a' },
    },
    endpointPodNames: true,
    namespaces: ['a', 'b'],
    labels: 'app in (x, y)',
    noEndpoints: true,
    ignoreEmptyService: true,
  });
});

test('[D2] kubernetes without zones has those of its block', () => {
  const [block] = parse('cluster.local in-addr.arpa {\n kubernetes\n}').blocks;
  assert.deepEqual(names(block!.plugins.kubernetes!.zones), ['cluster.local.', 'in-addr.arpa.']);
});

test('[D83 D84] cache with sizes and times', () => {
  const { cache } = settingsOf(
    'cache 60 a.test {\n success 5000 120 7\n denial 10\n disable denial\n}',
  );
  assert.deepEqual(names(cache!.zones), ['a.test.']);
  assert.deepEqual(cache!.success, {
    entriesMax: 5000,
    ttlSecondsMin: 7,
    ttlSecondsMax: 120,
    disabled: [],
  });
  const { disabled, ...denial } = cache!.denial;
  assert.deepEqual(names(disabled), ['.']);
  assert.deepEqual(denial, { entriesMax: 1024, ttlSecondsMin: 5, ttlSecondsMax: 60 });
});

test('snippets, files and globs are imported where they stand, variables are filled in', () => {
  const dir = mkdtempSync('/tmp/corefile-');
  try {
    writeFileSync(join(dir, 'b.override'), 'ready\n');
    writeFileSync(join(dir, 'a.override'), 'cache 7\nimport snip\n');
    writeFileSync(join(dir, 'x.server'), 'x.test:5300 {\n  errors\n}\n');
    const path = join(dir, 'Corefile');
    writeFileSync(
      path,
      '(snip) {\n  loop\n}\n{$ZONE} {\n  import *.override\n  import none/*.x\n}\nimport x.server\n',
    );
    warnings.length = 0;
    const { blocks } = readCorefile(path, options).configuration;
    assert.deepEqual(
      blocks.map(({ sites, plugins }) => [formatName(sites[0]!.zone), ...Object.keys(plugins)]),
      [
        ['env.test.', 'cache', 'loop', 'ready'],
        ['x.test.', 'errors'],
      ],
    );
    assert.match(warnings.join(), /Corefile:6: no file matches import "none\/\*\.x"/);
    writeFileSync(join(dir, 'b.override'), 'redy\n');
    const refused = new RegExp(`"${join(dir, 'b.override')}": line 1: unknown directive "redy"`);
    assert.throws(() => readCorefile(path, options), refused);
  } finally {
    rmSync(dir, { recursive: true });
  }
});

test('whatever the text, a Corefile is read or refused, never anything else', () => {
  const words = fc.constantFrom(
    '.',
    '{',
    '}',
    '\n',
    '"',
    '#',
    'a.test',
    '.:53',
    'cache',
    '30',
    'import',
    '(s)',
    's',
    'forward',
    '1.1.1.1',
    'kubernetes',
    'pods',
    'insecure',
    '\\',
    '{$ZONE}',
    '10.0.0.0/9',
  );
  fc.assert(
    fc.property(fc.array(words, { maxLength: 30 }), (parts) => {
      try {
        formatConfiguration(parse(parts.join(' ')));
      } catch (error) {
        if (!(error instanceof UserError)) throw error;
      }
    }),
    { numRuns: 3000 },
  );
});
