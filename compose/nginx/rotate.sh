#!/bin/sh
# Keeps the demo's log bounded as logrotate does on a server: rename, then tell nginx to open a new file.
# The image's entrypoint runs this once before nginx starts; the loop stays behind.
limit_bytes=${DEMO_LOG_LIMIT_BYTES:-67108864}
log=/var/log/site/access.log
(
    while sleep 60; do
        size_bytes=$(stat -c %s "$log" 2>/dev/null || echo 0)
        if [ "$size_bytes" -gt "$limit_bytes" ]; then
            mv "$log" "$log.1" && nginx -s reopen
        fi
    done
) &
