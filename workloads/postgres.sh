#!/bin/sh
# Run a real PostgreSQL server with 128 MiB of shared buffers, filled by pgbench, for one use.
#
# Usage: [TIDEMARK_PG_DIR=/short/path] postgres.sh
#
# Its data lie in a temporary directory; it listens on a Unix socket in TIDEMARK_PG_DIR and nowhere
# else. Prints `ready` when it can be used (pgbench.sh, pgcheck.sh). SIGTERM and SIGINT stop it in
# fast mode and remove what it made. Root runs the server as the user postgres. If this script is
# killed, the kernel stops the server; its temporary directory is left behind then.
set -eu
# shellcheck source=workloads/pgcommon.sh
. "$(dirname "$0")/pgcommon.sh"

# Set account to the user that the server runs as, and switch to the options that make it so.
choose_account() {
    account=$(id -un)
    switch=
    [ "$account" = root ] || return 0
    account=postgres
    id "$account" >/dev/null 2>&1 ||
        fail "there is no user postgres; install the Debian package postgresql."
    switch="--reuid=$account --regid=$(id -g "$account") --init-groups"
}

# Become a program of the server's user, which gets SIGINT when this script dies.
become() {
    # shellcheck disable=SC2086 # several options, or none
    exec setpriv $switch --pdeathsig INT "$@"
}

# Run a program as the server's user, and show what it says only if it fails.
quietly() {
    (become "$@") >"$home/output" 2>&1 || {
        cat "$home/output" >&2
        fail "${1##*/} failed, as said above."
    }
}

# Make home, the directory of the data, and that of the socket unless it exists.
make_directories() {
    home=$(mktemp -d "${TMPDIR:-/tmp}/tidemark-postgres.XXXXXX")
    trap clean_up EXIT
    trap 'exit 143' INT TERM
    TIDEMARK_PG_DIR=${TIDEMARK_PG_DIR:-$home}
    if [ ! -d "$TIDEMARK_PG_DIR" ]; then
        mkdir -p "$TIDEMARK_PG_DIR"
        made=$TIDEMARK_PG_DIR
        chown "$account" "$made"
    fi
    chown "$account" "$home"
    TIDEMARK_PG_DIR=$(cd "$TIDEMARK_PG_DIR" && pwd)
    [ ${#TIDEMARK_PG_DIR} -le 85 ] ||
        fail "$TIDEMARK_PG_DIR is too long for a socket's path; set a shorter TIDEMARK_PG_DIR."
    (become test -w "$TIDEMARK_PG_DIR") ||
        fail "the user $account cannot write to $TIDEMARK_PG_DIR; set another TIDEMARK_PG_DIR."
}

clean_up() {
    if [ -n "${server:-}" ] && kill -INT "$server" 2>/dev/null; then
        wait "$server" || true
    fi
    rm -rf "$home"
    [ -z "${made:-}" ] || rmdir "$made" || true
}

# Start the server in the background and return when it answers.
start_server() {
    cd "$home" # a place that the server's user may be in
    quietly "$PG_BIN/initdb" -D "$home/data" -U postgres -A trust --data-checksums --no-sync
    become "$PG_BIN/postgres" -D "$home/data" -p 5432 \
        -c listen_addresses= -c unix_socket_directories="$TIDEMARK_PG_DIR" \
        -c shared_buffers=128MB -c huge_pages=off -c fsync=off &
    server=$!
    trap 'kill -INT "$server"' INT TERM
    until client pg_isready -q; do
        kill -0 "$server" 2>/dev/null || fail "the server ended before it was ready."
        sleep 0.1
    done
}

# Return the server's exit status when it has ended; a signal that we forward ends a wait early.
await_server() {
    while :; do
        status=0
        wait "$server" || status=$?
        kill -0 "$server" 2>/dev/null || return "$status"
    done
}

find_programs initdb postgres pgbench pg_isready
choose_account
make_directories
! client pg_isready -q || fail "a server answers in $TIDEMARK_PG_DIR; set another TIDEMARK_PG_DIR."
start_server
client pgbench -i -q -s 2 >"$home/output" 2>&1 || fail "pgbench could not fill the tables."
echo ready
[ "$TIDEMARK_PG_DIR" != "$home" ] || echo "${0##*/}: TIDEMARK_PG_DIR=$home" >&2
await_server
