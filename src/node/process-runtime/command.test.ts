import assert from 'node:assert/strict';
import { test } from 'node:test';
import { isHarmless } from './command.ts';

const harmless = [
  'PATH',
  'HOME',
  'MY_SVC_SERVICE_HOST',
  'http_proxy',
  'A1',
  '_',
  'POD_NAME',
  'TERM',
];
// The loader's are those that ld.so(8) ignores in secure-execution mode; the rest are the shell's.
const unsafe = [
  'LD_PRELOAD',
  'LD_LIBRARY_PATH',
  'LD_AUDIT',
  'GLIBC_TUNABLES',
  'GCONV_PATH',
  'GETCONF_DIR',
  'HOSTALIASES',
  'LOCALDOMAIN',
  'LOCPATH',
  'MALLOC_TRACE',
  'NIS_PATH',
  'NLSPATH',
  'RESOLV_HOST_CONF',
  'RES_OPTIONS',
  'TMPDIR',
  'TZDIR',
  'ENV',
  'BASH_ENV',
  'IFS',
  'PS4',
  'BASH_FUNC_x%%',
  'dotted.name',
  'with-dash',
  '1ST',
];

for (const name of harmless) {
  test(`${name} may be set before the rights are gone`, () => {
    assert.equal(isHarmless(name), true);
  });
}

for (const name of unsafe) {
  test(`[K14] ${name} may not be set before the rights are gone`, () => {
    assert.equal(isHarmless(name), false);
  });
}
