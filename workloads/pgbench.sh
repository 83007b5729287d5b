#!/bin/sh
# Drive the server that postgres.sh runs in TIDEMARK_PG_DIR with pgbench's transactions.
#
# With "reconnect" each client makes so many transactions, each of which gets a server process of
# its own; and the server's own workers are told to end, which it then starts again.
#
# Usage: TIDEMARK_PG_DIR=/short/path pgbench.sh SECONDS, or pgbench.sh TRANSACTIONS reconnect
set -eu
# shellcheck source=workloads/pgcommon.sh
. "$(dirname "$0")/pgcommon.sh"

case "$#:${2-reconnect}" in
1:reconnect | 2:reconnect) ;;
*) fail "give a number of seconds, or of transactions and the word reconnect, and nothing else." ;;
esac
find_programs pgbench psql
if [ $# -eq 2 ]; then
    client psql --no-psqlrc --quiet --output /dev/null --command "
        SELECT pg_terminate_backend(pid) FROM pg_stat_activity
        WHERE backend_type LIKE '% launcher'"
    set -- --transactions "$1" --connect
else
    set -- --time "$1"
fi
client pgbench --no-vacuum --client 2 "$@"
