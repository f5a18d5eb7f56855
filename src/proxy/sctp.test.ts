import assert from 'node:assert/strict';
import { test } from 'node:test';

import { sampleContext, sampleService } from '../plan/samples.ts';
import { planService } from '../plan/service.ts';
import { sctpNotices } from './sctp.ts';

const ports = [
  { name: 'web', protocol: 'TCP' as const, port: 80 },
  { name: 'diameter', protocol: 'SCTP' as const, port: 3868 },
];
const plan = planService(sampleService({ ports }), [], sampleContext());
const plain = planService(sampleService(), [], sampleContext());

test('[P138] SCTP ports on a kernel without SCTP are named', () => {
  const [notice, ...others] = sctpNotices(plan, () => false);
  assert.deepEqual(others, []);
  assert.equal(notice?.reason, 'SctpNotSupported');
  assert.match(notice.message, /NF_CT_PROTO_SCTP.*ports 3868 do not work/);
});

test('[P138] nothing is said where the kernel has it, or nobody asks for it', () => {
  assert.deepEqual(
    sctpNotices(plan, () => true),
    [],
  );
  assert.deepEqual(
    sctpNotices(plain, () => false),
    [],
  );
  assert.deepEqual(
    sctpNotices(undefined, () => false),
    [],
  );
});
