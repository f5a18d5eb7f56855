import assert from 'node:assert/strict';
import { test } from 'node:test';
import { setprivArguments } from './rights.ts';

const everybody = { users: () => true, groups: () => true, setgroups: true };
const rootOnly = { users: (id: number) => id === 0, groups: (id: number) => id === 0 };

const safe = {
  user: 65534,
  group: 65534,
  supplementalGroups: [] as number[],
  privileged: false,
  allowPrivilegeEscalation: false,
  capabilities: { add: [] as string[], drop: [] as string[] },
};

/** The three sets that decide what a program can have, now or later. */
function sets(value: string): string {
  return `--bounding-set ${value} --inh-caps ${value} --ambient-caps ${value}`;
}

const nobody = '--reuid 65534 --regid 65534 --clear-groups';

const cases = [
  {
    name: 'the default gives up everything',
    spec: safe,
    want: `${nobody} ${sets('-all')} --no-new-privs`,
  },
  {
    name: 'supplemental groups',
    spec: { ...safe, supplementalGroups: [10, 20] },
    want: `--reuid 65534 --regid 65534 --groups 10,20 ${sets('-all')} --no-new-privs`,
  },
  {
    name: 'both spellings of a capability',
    spec: { ...safe, capabilities: { add: ['NET_RAW', 'CAP_CHOWN'], drop: ['ALL'] } },
    want: `${nobody} ${sets('-all,+net_raw,+chown')} --no-new-privs`,
  },
  {
    name: 'all but one',
    spec: { ...safe, capabilities: { add: ['ALL'], drop: ['SYS_ADMIN'] } },
    want: `${nobody} ${sets('+all,-sys_admin')} --no-new-privs`,
  },
  {
    name: 'escalation allowed',
    spec: { ...safe, allowPrivilegeEscalation: true },
    want: `${nobody} ${sets('-all')}`,
  },
  {
    name: 'privileged',
    spec: { ...safe, user: 0, group: 0, privileged: true },
    want: '--reuid 0 --regid 0 --clear-groups',
  },
];

for (const { name, spec, want } of cases) {
  test(`[K14] ${name}`, () => {
    assert.equal(setprivArguments(spec, everybody).join(' '), want);
  });
}

test('[K14] in a user namespace that maps root only, everybody is that root', () => {
  const spec = { ...safe, supplementalGroups: [10] };
  const args = setprivArguments(spec, { ...rootOnly, setgroups: false });
  assert.equal(args.join(' '), `--reuid 0 --regid 0 --keep-groups ${sets('-all')} --no-new-privs`);
});
