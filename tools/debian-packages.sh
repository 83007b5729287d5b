#!/bin/sh
# Installs the Debian packages that are missing here, or says which they are.
#
# usage: debian-packages.sh build|test|slurm|kernels
#   build:   what the native library and the virtual environment need
#   test:    that, the servers that the tests run, a fuzzer, and what injects faults
#   slurm:   a cluster to submit to, and Open MPI, for the tests
#   kernels: what it takes to boot other kernels in emulated machines
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
virtiofsd() { ls /usr/lib/qemu/virtiofsd || ls /usr/libexec/virtiofsd; }
postgres() { ls /usr/lib/postgresql/*/bin/initdb && ls /usr/lib/postgresql/*/bin/pg_amcheck; }

# The run-time of libFuzzer is in a package that is named after the version of clang.
fuzzer_package() { apt-cache depends clang 2>/dev/null | sed -n 's/.*Depends: clang-\([0-9]*\)$/libclang-rt-\1-dev/p'; }
fuzzer() { printf 'int LLVMFuzzerTestOneInput(void) { return 0; }' | clang -xc -fsanitize=fuzzer -o /dev/null -; }

offer() { # the same, for what is left out where Debian has no such package
	before=$missing
	need "$@"
	if [ "$missing" != "$before" ] && ! apt-cache show "$1" >/dev/null 2>&1; then
		missing=$before
	fi
}

need gcc command -v cc
need libc6-dev compiles stdlib.h
need libxxhash-dev compiles xxhash.h
need python3-venv python3 -c "import ensurepip, venv"
need python3-dev include
if [ "$1" = test ]; then
	need postgresql postgres
	need strace command -v strace
	offer clang command -v clang
	offer "$(fuzzer_package)" fuzzer
fi
if [ "$1" = slurm ]; then
	need slurm-wlm command -v slurmctld
	need munge command -v munged
	need iproute2 command -v ip
	need openmpi-bin command -v mpirun
	need libopenmpi-dev command -v mpicc
fi
if [ "$1" = kernels ]; then
	need qemu-system-x86 command -v qemu-system-x86_64
	need qemu-system-common virtiofsd
	need busybox-static test -x /bin/busybox
	need kmod command -v depmod
	offer criu command -v criu
	offer qemu-system-arm command -v qemu-system-aarch64
	offer gcc-aarch64-linux-gnu command -v aarch64-linux-gnu-gcc
	offer libc6-dev-arm64-cross test -d /usr/aarch64-linux-gnu/include
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
