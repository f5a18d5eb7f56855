/** What `fairlead proxy --cleanup` takes from the kernel, and what it leaves; nft writes and reads. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { beforeEach, test } from 'node:test';

import { cleanUp } from '../../src/proxy/standalone/cleanup.ts';

function nft(script: string): void {
  execFileSync('nft', ['-f', '-'], { input: script });
}

function list(): string {
  return execFileSync('nft', ['list', 'ruleset'], { encoding: 'utf8' }).replaceAll(/[\t ]+/g, ' ');
}

beforeEach(() => execFileSync('nft', ['flush', 'ruleset']));

/** As kube-proxy in mode iptables leaves it through iptables-nft, beside kubelet's and others' chains. */
const iptables = (family: 'ip' | 'ip6', address: string) => `
table ${family} nat {
  chain KUBE-SEP-AAAAAAAAAAAAAAAA { tcp dport 80 counter dnat to ${family === 'ip' ? address : `[${address}]`}:8080
  }
  chain KUBE-SVC-BBBBBBBBBBBBBBBB { counter jump KUBE-SEP-AAAAAAAAAAAAAAAA
  }
  chain KUBE-MARK-MASQ { counter meta mark set mark or 0x4000
  }
  chain KUBE-NODEPORTS { }
  chain KUBE-SERVICES { tcp dport 443 jump KUBE-SVC-BBBBBBBBBBBBBBBB
    fib daddr type local counter jump KUBE-NODEPORTS
  }
  chain KUBE-POSTROUTING { counter return
  }
  chain KUBE-KUBELET-CANARY { }
  chain KUBE-PROXY-CANARY { }
  chain CNI-HOSTPORT { counter accept
  }
  chain PREROUTING { type nat hook prerouting priority -100; policy accept;
    counter jump KUBE-SERVICES
    counter jump CNI-HOSTPORT
  }
  chain OUTPUT { type nat hook output priority -100; policy accept;
    counter jump KUBE-SERVICES
  }
  chain POSTROUTING { type nat hook postrouting priority 100; policy accept;
    counter jump KUBE-POSTROUTING
  }
}
table ${family} filter {
  chain KUBE-FIREWALL { counter drop
  }
  chain KUBE-FORWARD { counter accept
  }
  chain KUBE-EXTERNAL-SERVICES { }
  chain KUBE-SERVICES { }
  chain INPUT { type filter hook input priority 0; policy accept;
    ct state new counter jump KUBE-EXTERNAL-SERVICES
    counter jump KUBE-FIREWALL
  }
  chain FORWARD { type filter hook forward priority 0; policy accept;
    counter jump KUBE-FORWARD
    ct state new counter jump KUBE-SERVICES
  }
}
`;

/** The same without kube-proxy. */
const others = (family: 'ip' | 'ip6') => `
table ${family} nat {
  chain KUBE-KUBELET-CANARY { }
  chain CNI-HOSTPORT { counter accept
  }
  chain PREROUTING { type nat hook prerouting priority -100; policy accept;
    counter jump CNI-HOSTPORT
  }
  chain OUTPUT { type nat hook output priority -100; policy accept; }
  chain POSTROUTING { type nat hook postrouting priority 100; policy accept; }
}
table ${family} filter {
  chain KUBE-FIREWALL { counter drop
  }
  chain INPUT { type filter hook input priority 0; policy accept;
    counter jump KUBE-FIREWALL
  }
  chain FORWARD { type filter hook forward priority 0; policy accept; }
}
`;

test('[P133] chains of the modes iptables and ipvs go, in both families; those of others stay', () => {
  nft(others('ip') + others('ip6'));
  const want = list();
  execFileSync('nft', ['flush', 'ruleset']);
  nft(iptables('ip', '10.244.1.5') + iptables('ip6', 'fd00::5'));
  assert.notEqual(list(), want);
  const removed = cleanUp(['own', 'kubeProxy']);
  assert.equal(list(), want);
  assert.deepEqual(removed, [
    "7 of kube-proxy's chains from table ip nat",
    "3 of kube-proxy's chains from table ip filter",
    "7 of kube-proxy's chains from table ip6 nat",
    "3 of kube-proxy's chains from table ip6 filter",
  ]);
  assert.deepEqual(cleanUp(['own', 'kubeProxy']), [], 'nothing to remove is fine');
});

test("[P133] kube-proxy's own tables and ours go whole, tables of others stay", () => {
  const names = ['fairlead', 'kube-proxy', 'mine'];
  nft(names.flatMap((name) => [`table ip ${name} {}`, `table ip6 ${name} {}`]).join('\n'));
  nft('table inet fairlead {}');
  assert.deepEqual(cleanUp(['kubeProxy']), ['table ip kube-proxy', 'table ip6 kube-proxy']);
  assert.match(list(), /table ip fairlead/);
  assert.deepEqual(cleanUp(['own', 'kubeProxy']), ['table ip fairlead', 'table ip6 fairlead']);
  assert.equal(list(), 'table ip mine {\n}\ntable ip6 mine {\n}\ntable inet fairlead {\n}\n');
});

test('[P133] the link of mode ipvs goes with all its addresses, other links stay', () => {
  const ip = (words: string) => execFileSync('ip', words.split(' '), { encoding: 'utf8' });
  // A bridge, since not every kernel has dummy links.
  for (const link of ['kube-ipvs0', 'kube-other0']) {
    ip(`link add ${link} type bridge`);
    ip(`addr add 10.96.0.1/32 dev ${link}`);
  }
  assert.deepEqual(cleanUp(['own']), []);
  assert.deepEqual(cleanUp(['own', 'kubeProxy']), ['link kube-ipvs0']);
  const links = ip('-o link');
  assert.doesNotMatch(links, /kube-ipvs0/);
  assert.match(links, /kube-other0/);
  ip('link del kube-other0');
});

test('[P133] nothing at all is no error', () => {
  assert.deepEqual(cleanUp(['own', 'kubeProxy']), []);
});
