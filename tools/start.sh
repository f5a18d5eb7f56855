#!/bin/sh
# `npm start`: installs what is missing, brings a cluster up, runs the demo, says what to type next.
set -eu
cd "$(dirname "$0")/.."
sh tools/install.sh
bin/fairlead up "$@"
bin/fairlead demo
