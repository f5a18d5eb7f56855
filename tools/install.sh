#!/bin/sh
# Installs what is missing: the Debian packages named as arguments, then the npm packages of the lockfile
# (with --dev those of the tests too). Says what it does; does nothing where all is there.
set -eu
cd "$(dirname "$0")/.."

omit=--omit=dev
sample=node_modules/.bin/node
if [ "${1:-}" = --dev ]; then
  shift
  omit=
  sample=node_modules/typescript/bin/tsc
fi
missing=
# Node 26 needs it from its first step on; a Debian without a compiler does not have it.
PATH=$PATH:/sbin ldconfig -p | grep -q libatomic.so.1 || set -- libatomic1 "$@"
for package in "$@"; do
  dpkg-query -W -f='${Status}' "$package" 2>/dev/null | grep -q '^install ok installed$' || missing="$missing $package"
done
if [ -n "$missing" ]; then
  echo "Installing Debian packages:$missing"
  if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "Cannot install$missing: that needs root and apt-get; run: sudo apt-get install$missing" >&2
    exit 1
  fi
  # shellcheck disable=SC2086 # one word per package
  { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $missing; } >/tmp/fairlead-apt.$$ 2>&1 ||
    { cat /tmp/fairlead-apt.$$ >&2; rm -f /tmp/fairlead-apt.$$; exit 1; }
  rm -f /tmp/fairlead-apt.$$
fi

if [ ! -e "$sample" ] || [ package-lock.json -nt node_modules/.package-lock.json ]; then
  command -v npm >/dev/null || { echo "Cannot install: npm is missing; install Node.js 20 or newer with npm" >&2; exit 1; }
  echo "Installing npm packages (once)"
  # Not `npm ci`: it refuses a lockfile without the optional packages of every other platform, which npm
  # leaves out where a registry does not have them. This keeps to the versions of the lockfile as well.
  npm install --no-save $omit --loglevel=error --no-progress
  touch node_modules/.package-lock.json
fi
