/** The flows that conntrack(8) made are read, and one is deleted without touching the others. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createSocket } from 'node:dgram';
import { after, before, test } from 'node:test';
import { ConntrackConnection, FLOW_STATUS, PROTOCOL } from '../../src/kernel/conntrack/index.ts';

const connection = new ConntrackConnection();
after(() => connection[Symbol.dispose]());

function run(command: string): string {
  return execFileSync('sh', ['-c', command], {
    encoding: 'utf8',
    stdio: ['ignore', 'pipe', 'ignore'],
  });
}

before(() => {
  run('ip link set lo up');
  for (const family of ['ip', 'ip6']) {
    run(
      `nft add table ${family} t; nft 'add chain ${family} t o { type filter hook output priority 0; }'`,
    );
    run(`nft add rule ${family} t o ct state new counter`);
  }
});

const families = [
  {
    family: 'ipv4',
    client: '10.0.0.1',
    vip: '10.96.0.10',
    pod: '10.244.0.9',
    loopback: '127.0.0.1',
  },
  { family: 'ipv6', client: 'fd00::1', vip: 'fd00:96::10', pod: 'fd00:244::9', loopback: '::1' },
] as const;

for (const { family, client, vip, pod, loopback } of families) {
  const flag = family === 'ipv6' ? '-f ipv6' : '';

  test(`${family} flows are read`, () => {
    const ends = `-s ${client} -d ${vip} --sport 5000`;
    run(`conntrack -I -p udp ${ends} --dport 53 -t 100`);
    run(`conntrack -I -p tcp ${ends} --dport 80 -t 60 --state ESTABLISHED --dst-nat ${pod} -m 7`);
    const [udp] = connection.flows(family, ({ original }) => original.protocol === PROTOCOL.udp);
    const original = { source: client, destination: vip, sourcePort: 5000 };
    assert.partialDeepStrictEqual(udp, {
      original: { ...original, protocol: PROTOCOL.udp, destinationPort: 53 },
      reply: { source: vip, destination: client, sourcePort: 53, destinationPort: 5000 },
      mark: 0,
      zone: 0,
    });
    assert.ok(udp!.timeoutSeconds > 90 && udp!.timeoutSeconds <= 100);
    const [tcp] = connection.flows(family, ({ original }) => original.protocol === PROTOCOL.tcp);
    assert.partialDeepStrictEqual(tcp, {
      original: { ...original, protocol: PROTOCOL.tcp, destinationPort: 80 },
      reply: { source: pod, destination: client },
      mark: 7,
      tcpState: 3,
    });
    assert.notEqual(tcp!.status & FLOW_STATUS.dnat, 0);
    assert.equal(udp!.status & FLOW_STATUS.dnat, 0);
  });

  test(`one ${family} flow is deleted, once, and no other in its place`, () => {
    const [flow] = connection.flows(family, ({ original }) => original.destinationPort === 53);
    assert.ok(flow !== undefined);
    assert.equal(connection.delete({ ...flow, id: flow.id ^ 1 }), false);
    assert.match(run(`conntrack -L ${flag} -p udp`), /dport=53/);
    assert.equal(connection.delete(flow), true);
    assert.equal(connection.delete(flow), false);
    assert.doesNotMatch(run(`conntrack -L ${flag} -p udp`), /dport=53/);
    assert.match(run(`conntrack -L ${flag} -p tcp`), /dport=80/);
  });

  test(`a ${family} flow of a real packet`, async () => {
    const socket = createSocket(family === 'ipv4' ? 'udp4' : 'udp6');
    await new Promise<void>((resolve) => socket.bind(0, loopback, resolve));
    const { port } = socket.address();
    await new Promise((resolve) => socket.send('x', 4711, loopback, resolve));
    const flows = connection.flows(family, ({ original }) => original.destinationPort === 4711);
    assert.deepEqual(
      flows.map(({ original }) => original),
      [
        {
          source: loopback,
          destination: loopback,
          protocol: PROTOCOL.udp,
          sourcePort: port,
          destinationPort: 4711,
        },
      ],
    );
    socket.close();
  });
}
