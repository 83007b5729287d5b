# shellcheck shell=sh
# What the PostgreSQL scripts share. Sourced by them, not run.
#
# TIDEMARK_PG_BIN: where the server's programs are, if not where Debian's package puts them.
# TIDEMARK_PG_DIR: the directory of the server's socket.

fail() {
    echo "${0##*/}: $*" >&2
    exit 1
}

# Set PG_BIN to the newest installed version that has the programs named.
find_programs() {
    PG_BIN=${TIDEMARK_PG_BIN:-$(printf '%s\n' /usr/lib/postgresql/*/bin | sort -V | tail -n 1)}
    for program in "$@"; do
        [ -x "$PG_BIN/$program" ] ||
            fail "PostgreSQL's $program is not in $PG_BIN; install the Debian package postgresql."
    done
}

# Run one of the server's programs as a client of the server of TIDEMARK_PG_DIR.
client() {
    [ -n "${TIDEMARK_PG_DIR:-}" ] ||
        fail "TIDEMARK_PG_DIR is not set; set it to the directory that postgres.sh was given."
    program=$1
    shift
    PGHOST=$TIDEMARK_PG_DIR PGUSER=postgres PGDATABASE=postgres PGPORT=5432 "$PG_BIN/$program" "$@"
}
