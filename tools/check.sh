#!/bin/sh
# Everything that needs no privileges: format, lint, types, layers, tidiness, dead code, spec ids.
set -eu
cd "$(dirname "$0")/.."
node=node_modules/.bin/node
step() { name=$1; shift; "$@" || { echo "check: $name failed" >&2; exit 1; }; }
step format $node node_modules/oxfmt/bin/oxfmt --check
step lint $node node_modules/oxlint/bin/oxlint --quiet
step types $node node_modules/typescript/bin/tsc -p .
step layers $node tools/layers.ts
step tidy $node tools/tidy.ts
step 'dead code' $node node_modules/knip/bin/knip.js --no-progress
step spec $node tools/spec.ts
