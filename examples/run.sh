#!/bin/sh
# The daemon and the example service, until Ctrl-C. $1: the folder with the built programs.
set -eu
programs=$1
daemon="" facts=""

stop() {
    trap - INT TERM EXIT
    [ -z "$facts" ] || kill "$facts" 2>/dev/null || true
    [ -z "$daemon" ] || kill "$daemon" 2>/dev/null || true
    [ -z "$daemon" ] || wait "$daemon" || true
}
trap 'stop; exit 0' INT TERM
trap stop EXIT

"$programs/andiron" serve &
daemon=$!
# It answers when it is ready, and ends when it cannot serve: it says why.
while sleep 0.05; do
    kill -0 "$daemon" 2>/dev/null || { daemon=""; exit 1; }
    "$programs/andiron" ls >/dev/null 2>&1 && break
done
"$programs/facts" &
facts=$!

cat <<HINTS

The daemon runs, and an example service that gathers facts about this machine. In a second terminal, with
    PATH="$(cd "$programs" && pwd):\$PATH"
try
    andiron ls
    andiron get memory --author facts
    andiron describe facts
    andiron call facts largest 3
    andiron call facts mount_of /tmp
    andiron set x 20
    andiron get x
    facts-watch
Ctrl-C here ends both.

HINTS
wait "$facts"
