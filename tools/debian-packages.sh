#!/bin/sh
# Installs the Debian packages that are missing here, or says which they are.
#
# usage: debian-packages.sh build|test
#   build: what the native library and the virtual environment need
#   test:  that, and the servers that the tests run
#
# What is there is found by looking for the thing itself, so a machine that has it from
# elsewhere (a Python of its own, say) needs no package.
set -eu

missing=
need() { # package, command that succeeds where the thing is there
	package=$1
	shift
	"$@" >/dev/null 2>&1 || missing="$missing $package"
}

include() { python3 -c "import os, sysconfig; exit(not os.path.exists(sysconfig.get_path('include') + '/Python.h'))"; }
compiles() { printf '#include <%s>\n' "$1" | cc -E -xc - ; }
postgres() { ls /usr/lib/postgresql/*/bin/initdb && ls /usr/lib/postgresql/*/bin/pg_amcheck; }

need gcc command -v cc
need libc6-dev compiles stdlib.h
need libxxhash-dev compiles xxhash.h
need python3-venv python3 -c "import ensurepip, venv"
need python3-dev include
if [ "$1" = test ]; then
	need postgresql postgres
fi

[ -n "$missing" ] || exit 0
if [ "$(id -u)" != 0 ]; then
	echo "tidemark: these Debian packages are missing; as root, run: apt-get install$missing" >&2
	exit 1
fi
echo "installing$missing"
export DEBIAN_FRONTEND=noninteractive
apt-get update -qq
# shellcheck disable=SC2086 # one word per package
apt-get install -y -qq --no-install-recommends $missing >/dev/null
