#!/bin/sh
# nginx.sh LOG LIMIT_BYTES NGINX ARGUMENT...: nginx in the foreground, its log kept bounded as logrotate does on a
# server: rename, then tell nginx to open a new file. The whole process group gets the signal to stop.
set -u
log=$1 limit_bytes=$2
shift 2
"$@" &
nginx=$!
stopping=
trap 'stopping=yes' TERM INT
while [ -z "$stopping" ] && kill -0 "$nginx" 2>/dev/null; do
    size_bytes=$(stat -c %s "$log" 2>/dev/null || echo 0)
    if [ "$size_bytes" -gt "$limit_bytes" ]; then
        mv "$log" "$log.1" && kill -USR1 "$nginx"
    fi
    sleep 5 &
    wait $!
done
kill "$nginx" 2>/dev/null
wait "$nginx"
