#!/bin/sh
# Runs a script with the Node this project pins, whatever `node` the machine has.
here=$(cd "$(dirname "$0")/.." && pwd)
exec "$here/node_modules/.bin/node" "$@"
