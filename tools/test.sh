#!/bin/sh
# `npm test`: installs what the tests need, runs all of them, ends with `N passed, N failed`.
set -eu
cd "$(dirname "$0")/.."
if [ "$(id -u)" != 0 ]; then
  echo "Cannot run the tests: they make network namespaces and install Debian packages, which needs root; run: sudo npm test" >&2
  exit 1
fi
sh tools/install.sh --dev nftables iproute2 netbase conntrack bind9-dnsutils knot-dnsutils curl openssl python3 util-linux procps musl tcc
# Now, while there is a network: the end-to-end files run without one.
sh tools/kubectl.sh >/dev/null
exec node_modules/.bin/node tools/test.ts "$@"
