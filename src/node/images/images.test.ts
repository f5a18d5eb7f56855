import assert from 'node:assert/strict';
import { test } from 'node:test';
import { builtInImage, refusalOf } from './images.ts';

const cases = [
  { image: 'host', want: 'host' },
  { image: 'fairlead/echo', want: 'echo' },
  { image: 'fairlead/echo:1.0', want: 'echo' },
  { image: 'docker.io/fairlead/echo:latest', want: 'echo' },
  { image: 'fairlead/pause@sha256:0123456789abcdef', want: 'pause' },
  { image: 'fairlead/dns:0.1.0@sha256:0123', want: 'dns' },
  { image: 'nginx', want: undefined },
  { image: 'nginx:1.27', want: undefined },
  { image: 'example.org/fairlead/echo', want: undefined },
  { image: 'fairlead/other', want: undefined },
  { image: '', want: undefined },
  { image: 'toString', want: undefined },
];

for (const { image, want } of cases) {
  test(`image "${image}" is ${want ?? 'refused'}`, () => {
    assert.equal(builtInImage(image), want);
    if (want === undefined)
      assert.match(refusalOf(image)!, /^Cannot run image ".*": .* Use image "host"/);
    else assert.equal(refusalOf(image), undefined);
  });
}
