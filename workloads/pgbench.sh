#!/bin/sh
# Drive the server that postgres.sh runs in TIDEMARK_PG_DIR with pgbench's transactions.
#
# Usage: TIDEMARK_PG_DIR=/short/path pgbench.sh SECONDS
set -eu
# shellcheck source=workloads/pgcommon.sh
. "$(dirname "$0")/pgcommon.sh"

[ $# -eq 1 ] || fail "give the number of seconds, and nothing else."
find_programs pgbench
client pgbench --no-vacuum --client 2 --time "$1"
