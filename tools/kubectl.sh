#!/bin/sh
# Makes sure a kubectl exists and prints its path: the machine's own, else Debian's, unpacked beside
# the npm packages (its package collides with other packagings of kubectl, so it is never installed).
set -eu
cd "$(dirname "$0")/.."
if command -v kubectl >/dev/null; then command -v kubectl; exit 0; fi
cache=$PWD/node_modules/.cache/kubectl
if [ ! -x "$cache/usr/bin/kubectl" ]; then
  mkdir -p "$cache"
  (cd "$cache" && { apt-get update -qq && apt-get -o APT::Sandbox::User=root download -qq kubernetes-client && dpkg -x kubernetes-client_*.deb . && rm kubernetes-client_*.deb; } >&2)
fi
echo "$cache/usr/bin/kubectl"
