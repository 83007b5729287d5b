#!/bin/sh
# Check the server that postgres.sh runs in TIDEMARK_PG_DIR: its tables and indexes with pg_amcheck,
# and that pgbench's balances add up. Exits 1 when anything is wrong.
#
# Usage: TIDEMARK_PG_DIR=/short/path pgcheck.sh
set -eu
# shellcheck source=workloads/pgcommon.sh
. "$(dirname "$0")/pgcommon.sh"

# Print whether every transaction is in all of the tables that it changed.
balanced() {
    client psql --no-psqlrc --tuples-only --no-align --set ON_ERROR_STOP=1 --command "
        SELECT count(DISTINCT total) = 1 FROM (
            SELECT sum(abalance) AS total FROM pgbench_accounts
            UNION ALL SELECT sum(tbalance) FROM pgbench_tellers
            UNION ALL SELECT sum(bbalance) FROM pgbench_branches
            UNION ALL SELECT coalesce(sum(delta), 0) FROM pgbench_history
        ) AS totals"
}

find_programs pg_amcheck psql
client pg_amcheck --install-missing --heapallindexed --parent-check ||
    fail "pg_amcheck found damage or could not look, as said above."
answer=$(balanced) || fail "the tables of pgbench cannot be read."
[ "$answer" = t ] || fail "the balances of pgbench do not add up."
echo "${0##*/}: tables and indexes are whole, balances add up"
