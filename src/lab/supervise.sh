#!/bin/sh
# Keeps one component of a lab running: supervise.sh PIDFILE COMMAND [ARGUMENT...]
# The pid file holds this shell's id and the component's. TERM ends both. A component that dies is
# started again after 0.1 s, later up to 5 s while it keeps dying young.
pidfile=$1
shift
stopping=
child=
delay=0.1
trap 'stopping=1; [ -n "$child" ] && kill -TERM "$child" 2>/dev/null' TERM INT HUP

while [ -z "$stopping" ]; do
  born=$(date +%s)
  "$@" &
  child=$!
  echo "$$ $child" >"$pidfile.new" && mv "$pidfile.new" "$pidfile"
  wait "$child"
  code=$?
  if [ -n "$stopping" ]; then
    wait "$child"
    break
  fi
  # EX_CONFIG: a person must mend something first.
  if [ "$code" -eq 78 ]; then break; fi
  lived=$(($(date +%s) - born))
  if [ "$lived" -ge 10 ]; then delay=0.1; fi
  echo "{\"level\":\"warn\",\"time\":\"$(date -u +%FT%TZ)\",\"component\":\"supervisor\",\"msg\":\"exited with $code after $lived s, starting again in $delay s\"}" >&2
  sleep "$delay" &
  wait $!
  case $delay in 0.1) delay=0.5 ;; 0.5) delay=2 ;; *) delay=5 ;; esac
done
rm -f "$pidfile"
